//! A server process: started, killed, paused, and started again on its folder.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{STUCK, holds_within};

/// How often a start is tried: a killed server's last children may still hold what it needs.
const STARTS_MAX: usize = 50;

/// One server. Dropping it kills it, and whatever it started.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Option<Child>,
    command: Command,
    /// Its own folder, in which nothing else runs.
    home: PathBuf,
    log: PathBuf,
    /// What it says when it takes connections.
    ready: &'static [&'static str],
}

impl Daemon {
    /// Starts `command`, which runs in the folder `home`, and waits until it has said one of `ready`.
    pub(super) fn start(command: Command, home: &Path, ready: &'static [&'static str]) -> Self {
        let home = home.canonicalize().expect("its folder is there");
        let log = home.join("log");
        let mut daemon = Self { child: None, command, home, log, ready };
        daemon.start_again();
        daemon
    }

    /// Starts it where it was, once it has ended.
    pub(super) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        for _ in 0..STARTS_MAX {
            let said = fs::metadata(&self.log).map_or(0, |log| log.len());
            self.spawn();
            if self.is_up(usize::try_from(said).unwrap_or_default()) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("it does not start: {}", self.tail());
    }

    fn spawn(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.expect("the log can be written");
        let errors: File = log.try_clone().expect("a file has a second handle");
        self.command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(self.command.spawn().expect("the server starts"));
    }

    /// Whether it comes up; if not, it has ended.
    fn is_up(&mut self, said: usize) -> bool {
        let deadline = Instant::now() + STUCK;
        while Instant::now() < deadline {
            let log = fs::read(&self.log).unwrap_or_default();
            let new = String::from_utf8_lossy(log.get(said..).unwrap_or_default()).into_owned();
            if self.ready.iter().any(|ready| new.contains(ready)) {
                return true;
            }
            let child = self.child.as_mut().expect("it was started");
            if let Ok(Some(_ended)) = child.try_wait() {
                self.child = None;
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not come up: {}", self.tail());
    }

    /// kill -9, with everything it started: what a crash of its machine leaves, but for what the
    /// machine's memory still holds of its files.
    pub(super) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ended_already = child.kill();
        let _status = child.wait();
        // One that was being started a moment ago may come up only now.
        let gone = holds_within(STUCK, || {
            let left = those_in(&self.home);
            for pid in &left {
                let _ended_already = kill_process(*pid, Signal::KILL);
            }
            left.is_empty()
        });
        assert!(gone || thread::panicking(), "its children do not end: {}", self.tail());
    }

    /// Asks it to end with `signal`, and waits for that.
    pub(super) fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let _ended_already = kill_process(pid_of(child.id()), signal);
        let deadline = Instant::now() + STUCK;
        while Instant::now() < deadline {
            if let Ok(Some(_status)) = child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        panic!("it does not end: {}", self.tail());
    }

    /// Stops it and everything it started, as if its machine were suspended.
    pub(super) fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on.
    pub(super) fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("it runs").id();
        kill_process(pid_of(pid), signal).expect("a child can be signalled");
        for pid in those_in(&self.home) {
            let _ended_already = kill_process(pid, signal);
        }
    }

    fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid_of(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a child has a process id")
}

/// The processes whose folder is within `home`: a server's children, also those that outlived it.
fn those_in(home: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("the kernel lists its processes");
    let pid_in = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let folder = fs::read_link(entry.path().join("cwd")).ok()?;
        folder.starts_with(home).then(|| pid_of(pid))
    };
    processes.flatten().filter_map(pid_in).collect()
}
