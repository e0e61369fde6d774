//! Time is an argument: the only file that reads a clock.
//!
//! The machine is handed a [`Timestamp`] by the store, whose clock is the only one that judges a
//! lease. A [`Clock`] is what a store (or the flow, for its own time-outs) is built with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Microseconds since the Unix epoch, by the clock of whoever made it.
///
/// Fits in 53 bits until the year 2255, so that every store and script language can hold it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// A point `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This point moved forward, saturating at the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }

    /// This point moved back, saturating at the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros(by)))
    }

    /// How long after `earlier` this point lies; zero if it does not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Where time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Wall time: what records carry.
    fn now(&self) -> Timestamp;

    /// Time since a fixed point, which never steps and goes on while the machine is suspended.
    /// Differences of two readings are what an owner judges its own lease by (ruling 9).
    fn elapsed(&self) -> Duration;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 is broken; the epoch keeps leases conservative rather than panicking.
        Timestamp(since_epoch.map_or(0, micros))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn elapsed(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let secs = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(secs, nanos)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn elapsed(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// A shift of a server's clock, shared by all that are handed a clone: how tests of a store whose time
/// is that of its server let hours pass.
#[derive(Clone, Debug, Default)]
pub struct ClockOffset(Arc<AtomicI64>);

impl ClockOffset {
    /// Moves time forward for every store that has a clone of this.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(signed_micros(by), Ordering::SeqCst);
    }

    /// Moves it back, as a server's clock may step when somebody sets it.
    pub fn step_back(&self, by: Duration) {
        self.0.fetch_sub(signed_micros(by), Ordering::SeqCst);
    }

    /// What to add to the server's time, in microseconds.
    #[must_use]
    pub fn micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn signed_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A clock that moves only when told to, for tests. Wall time may step back; `elapsed` never does.
#[derive(Debug)]
pub struct ManualClock {
    elapsed: AtomicU64,
    now: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { elapsed: AtomicU64::new(0), now: AtomicU64::new(now.0) }
    }

    /// Moves both readings forward.
    pub fn advance(&self, by: Duration) {
        self.elapsed.fetch_add(micros(by), Ordering::SeqCst);
        self.now.fetch_add(micros(by), Ordering::SeqCst);
    }

    /// Steps wall time, to either side, as an operator or NTP might.
    pub fn step_to(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// Stands at 2026-01-01, so that fences look as they do in life.
    fn default() -> Self {
        Self::new(Timestamp(1_767_225_600_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let end = Timestamp::from_micros(u64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::EPOCH.minus(Duration::from_secs(1)), Timestamp::EPOCH);
        assert_eq!(Timestamp::EPOCH.since(end), Duration::ZERO);
    }

    #[test]
    fn elapsed_goes_on_when_wall_time_steps_back() {
        let clock = ManualClock::default();
        clock.advance(Duration::from_secs(5));
        clock.step_to(Timestamp::EPOCH);
        assert_eq!(clock.elapsed(), Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::EPOCH);
    }

    #[test]
    fn system_clock_moves_forward() {
        let before = SystemClock.elapsed();
        assert!(SystemClock.elapsed() >= before);
        assert!(SystemClock.now() > Timestamp::from_micros(1_700_000_000_000_000));
    }
}
