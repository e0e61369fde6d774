//! The gateway as a process of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::{Request, STUCK, binary};

/// A running gateway; dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    address: Arc<Told>,
    admin: Arc<Told>,
    child: Child,
    errors: Arc<Mutex<String>>,
    /// Kept for as long as the process may write there.
    _folder: Option<Arc<TempDir>>,
    lines: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a gateway ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, if no signal ended it.
    pub code: Option<i32>,
    /// Standard error.
    pub errors: String,
    /// Standard output.
    pub output: String,
}

/// An address that the process tells in its own time.
#[derive(Debug, Default)]
struct Told {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    address: Option<SocketAddr>,
    /// Nothing more will be said.
    is_over: bool,
}

impl Gateway {
    /// Runs any command of the program, as `hapax keys`.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn command(arguments: &[&str]) -> Ended {
        Self::run(arguments).ended()
    }

    /// Starts any command of the program, as `hapax demo`, and waits for nothing.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::spawn(command, None)
    }

    pub(crate) fn spawn(mut command: Command, folder: Option<Arc<TempDir>>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (address, admin) = (Arc::<Told>::default(), Arc::<Told>::default());
        let (lines, errors) = (Arc::<Mutex<String>>::default(), Arc::<Mutex<String>>::default());
        let output = child.stdout.take().expect("standard output is a pipe");
        let output = {
            let (lines, address, admin) =
                (Arc::clone(&lines), Arc::clone(&address), Arc::clone(&admin));
            collect(output, lines, move |line| match line {
                None => {
                    address.end();
                    admin.end();
                }
                Some(line) => {
                    if let Some(told) = line.strip_prefix("listening on ") {
                        address.tell(told);
                    } else if let Some(told) = line.strip_prefix("admin on ") {
                        admin.tell(told);
                    }
                }
            })
        };
        let errors_pipe = child.stderr.take().expect("standard error is a pipe");
        let stderr = collect(errors_pipe, Arc::clone(&errors), |_| {});
        Self {
            address,
            admin,
            child,
            errors,
            _folder: folder,
            lines,
            readers: vec![output, stderr],
        }
    }

    /// Where clients connect.
    ///
    /// # Panics
    /// When it never listened.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address.wait(STUCK).expect("the gateway listens")
    }

    /// Where operators connect, unless it ends or hangs without telling that.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.wait(STUCK)
    }

    /// Whether it says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let asked = self.admin().map(|admin| Request::new("GET", "/readyz").send(admin));
        asked.is_some_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
    }

    /// Whether it has told its address by now, or does so within `limit`.
    pub(crate) fn listens_within(&self, limit: Duration) -> bool {
        self.address.wait(limit).is_some()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, at once.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Stops it as if the machine were suspended.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Fails all its writes to files from now on.
    ///
    /// # Panics
    /// When the system does not allow that.
    pub fn fill_disk(&self) {
        let none = Rlimit { current: Some(0), maximum: None };
        prlimit(Some(self.process()), Resource::Fsize, none).expect("a child can be limited");
    }

    /// Asks it to drain and end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within [`STUCK`].
    #[must_use]
    pub fn ended(mut self) -> Ended {
        let status = self.wait().unwrap_or_else(|| panic!("it does not end: {}", self.said()));
        for reader in self.readers.drain(..) {
            let _panicked = reader.join();
        }
        Ended { code: status.code(), errors: text(&self.errors), output: text(&self.lines) }
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote on standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        text(&self.errors)
    }

    /// What it wrote on standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        text(&self.lines)
    }

    /// The memory it holds now, in KiB.
    ///
    /// # Panics
    /// When the system does not tell.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("memory is a number")
    }

    pub(crate) fn said(&self) -> String {
        let mut said = String::new();
        let _infallible = write!(said, "{}\n{}", text(&self.lines), text(&self.errors));
        said
    }

    fn process(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.expect("a child has a process id")
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).expect("a child can be signalled");
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + STUCK;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It has ended already, or it is not to outlive its test.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Told {
    /// Takes the first URL of a line.
    fn tell(&self, line: &str) {
        let url = line.split_whitespace().next().unwrap_or_default();
        let place = url.split_once("://").map_or(url, |(_, place)| place);
        if let Ok(address) = place.trim_end_matches('/').parse() {
            self.said().address = Some(address);
            self.changed.notify_all();
        }
    }

    fn end(&self) {
        self.said().is_over = true;
        self.changed.notify_all();
    }

    fn wait(&self, limit: Duration) -> Option<SocketAddr> {
        let waits = |said: &mut Said| said.address.is_none() && !said.is_over;
        let waited = self.changed.wait_timeout_while(self.said(), limit, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.address
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects lines, and hands on each, and in the end nothing.
fn collect(
    pipe: impl Read + Send + 'static,
    into: Arc<Mutex<String>>,
    hear: impl Fn(Option<&str>) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            hear(Some(&line));
            let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
            into.push_str(&line);
            into.push('\n');
        }
        hear(None);
    })
}

fn text(of: &Mutex<String>) -> String {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
