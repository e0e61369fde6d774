//! Who has been quiet for too long: time limits without a timer per request.
//!
//! Each connection notes when its state last changed, on a clock that the sweep of its core moves. The
//! sweep looks at all connections of its core a few times per limit. A request costs a few stores
//! on the core's own memory instead of arming and disarming timers.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::config::ListenConfig;

/// What the sweep or a drain asks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Signal {
    None = 0,
    /// Finish what runs, take nothing new.
    Finish = 1,
    /// The head of a request does not come: answer 408.
    HeadLate = 2,
    /// The client does not take its bytes: drop the connection.
    Cut = 3,
}

impl From<u8> for Signal {
    fn from(value: u8) -> Self {
        match value {
            1 => Self::Finish,
            2 => Self::HeadLate,
            3 => Self::Cut,
            _ => Self::None,
        }
    }
}

/// The state of one connection. All its users run on one thread.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Arc<AtomicU64>,
    /// When the state below last changed.
    since: AtomicU64,
    /// Requests whose answer is not finished.
    active: AtomicU32,
    /// Bytes came while no request was active: a head is on its way.
    is_head: AtomicBool,
    /// The last request announced a body, which may not have been read.
    has_body: AtomicBool,
    is_http2: AtomicBool,
    /// When a write first found no room, or 0.
    stalled: AtomicU64,
    signal: AtomicU8,
    waker: OnceLock<Waker>,
}

impl Watch {
    fn new(clock: Arc<AtomicU64>) -> Self {
        let since = AtomicU64::new(clock.load(Ordering::Relaxed));
        Self {
            clock,
            since,
            active: AtomicU32::new(0),
            is_head: AtomicBool::new(false),
            has_body: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            stalled: AtomicU64::new(0),
            signal: AtomicU8::new(Signal::None as u8),
            waker: OnceLock::new(),
        }
    }

    fn touch(&self) {
        self.since.store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Bytes came in.
    pub(super) fn on_read(&self) {
        if self.active.load(Ordering::Relaxed) == 0 && !self.is_head.load(Ordering::Relaxed) {
            self.is_head.store(true, Ordering::Relaxed);
            self.touch();
        }
    }

    /// A write found room, or none.
    pub(super) fn on_write(&self, has_room: bool) {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if has_room && stalled != 0 {
            self.stalled.store(0, Ordering::Relaxed);
        } else if !has_room && stalled == 0 {
            // Zero means "not stalled", so that the first tick of the clock counts as one.
            let now = self.clock.load(Ordering::Relaxed).max(1);
            self.stalled.store(now, Ordering::Relaxed);
        }
    }

    /// The connection is ready for its first request, in the version that was found.
    pub(super) fn on_established(&self, is_http2: bool) {
        self.is_http2.store(is_http2, Ordering::Relaxed);
        self.is_head.store(false, Ordering::Relaxed);
        self.touch();
    }

    /// A request head is complete.
    pub(super) fn on_request(&self, has_body: bool) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.is_head.store(false, Ordering::Relaxed);
        self.has_body.store(has_body, Ordering::Relaxed);
    }

    /// An answer is finished, or given up.
    pub(super) fn on_answered(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.touch();
    }

    /// Whether the client may still be sending, so that closing now could destroy the answer that it
    /// has not read yet.
    pub(super) fn may_be_unread(&self) -> bool {
        self.has_body.load(Ordering::Relaxed) || self.is_head.load(Ordering::Relaxed)
    }

    /// Whether a request head has begun and is not complete.
    pub(super) fn is_head_late(&self) -> bool {
        self.is_head.load(Ordering::Relaxed) && self.active.load(Ordering::Relaxed) == 0
    }

    /// What is asked of the connection; its task is woken for each new signal.
    pub(super) fn signal(&self, cx: &Context<'_>) -> Signal {
        if self.waker.get().is_none() {
            // A task's waker stays good for all of its polls.
            let _first = self.waker.set(cx.waker().clone());
        }
        Signal::from(self.signal.load(Ordering::Relaxed))
    }

    fn ask(&self, signal: Signal) {
        if self.signal.swap(signal as u8, Ordering::Relaxed) != signal as u8
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }

    fn judge(&self, now: u64, limits: &Limits) -> Signal {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled != 0 && now.saturating_sub(stalled) >= limits.write {
            return Signal::Cut;
        }
        let quiet = now.saturating_sub(self.since.load(Ordering::Relaxed));
        if self.active.load(Ordering::Relaxed) > 0 {
            return Signal::None;
        }
        let is_head =
            self.is_head.load(Ordering::Relaxed) && !self.is_http2.load(Ordering::Relaxed);
        if is_head && quiet >= limits.head {
            Signal::HeadLate
        } else if !is_head && quiet >= limits.idle {
            Signal::Finish
        } else {
            Signal::None
        }
    }
}

#[derive(Debug)]
struct Limits {
    head: u64,
    idle: u64,
    write: u64,
}

/// All connections of one core, and their clock in milliseconds.
#[derive(Debug)]
pub(super) struct Sweep {
    clock: Arc<AtomicU64>,
    started: Instant,
    limits: Limits,
    period: Duration,
    connections: Mutex<Vec<Weak<Watch>>>,
}

impl Sweep {
    pub(super) fn new(config: &ListenConfig) -> Self {
        let millis = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        let shortest = config.head_timeout.min(config.idle_timeout).min(config.write_timeout);
        Self {
            clock: Arc::default(),
            started: Instant::now(),
            limits: Limits {
                head: millis(config.head_timeout),
                idle: millis(config.idle_timeout),
                write: millis(config.write_timeout),
            },
            period: (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1)),
            connections: Mutex::default(),
        }
    }

    /// Watches one more connection, for as long as somebody holds the result.
    pub(super) fn watch(&self) -> Arc<Watch> {
        let watch = Arc::new(Watch::new(Arc::clone(&self.clock)));
        self.connections().push(Arc::downgrade(&watch));
        watch
    }

    /// Asks every connection to finish what runs and to take nothing new.
    pub(super) fn finish_all(&self) {
        for watch in self.connections().iter().filter_map(Weak::upgrade) {
            watch.ask(Signal::Finish);
        }
    }

    /// Moves the clock and judges, for ever.
    pub(super) async fn run(&self) {
        loop {
            tokio::time::sleep(self.period).await;
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.clock.store(now, Ordering::Relaxed);
            self.connections().retain(|watch| {
                let Some(watch) = watch.upgrade() else { return false };
                let signal = watch.judge(now, &self.limits);
                if signal != Signal::None {
                    watch.ask(signal);
                }
                true
            });
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Watch>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
