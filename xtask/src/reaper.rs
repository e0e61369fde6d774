//! One way to end what a task started, taken in every case.
//!
//! The reaper is a second process of this program that reads, from a pipe, what has to be ended.
//! When the task ends - done, panicked, interrupted or killed - the operating system closes the
//! pipe, and the reaper ends what is left. So no signal handler is needed, and none can be missed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The hidden verb under which this program is the reaper.
pub(crate) const VERB: &str = "reap";

/// Names, in the environment of every test process, the run it belongs to. Processes that have
/// left their group (a gateway a test started, then lost) are found by it.
const MARK: &str = "HAPAX_XTASK_RUN";

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The signal that asks a process group to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// PostgreSQL: end at once, give shared memory back, skip the checkpoint.
    Quit,
    /// Everybody else.
    Terminate,
}

impl Ask {
    fn signal(self) -> &'static str {
        match self {
            Self::Quit => "QUIT",
            Self::Terminate => "TERM",
        }
    }
}

/// The task's side of the reaper.
#[derive(Debug)]
pub(crate) struct Reaper {
    child: Mutex<Option<Child>>,
    pipe: Mutex<Option<ChildStdin>>,
    mark: String,
}

impl Reaper {
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .arg(VERB)
            .stdin(Stdio::piped())
            // Out of the terminal's group: Ctrl-C ends the task, not the one who tidies up.
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take();
        let mark = format!("{}-{}", std::process::id(), child.id());
        let reaper = Self { child: Mutex::new(Some(child)), pipe: Mutex::new(pipe), mark };
        reaper.tell(&format!("mark {}", reaper.mark));
        Ok(reaper)
    }

    /// A reaper without a process, for unit tests: they are not this program.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Self { child: Mutex::new(None), pipe: Mutex::new(None), mark: String::new() }
    }

    /// Hands a process group over; it is ended when the task ends.
    pub(crate) fn watch(&self, group: u32, ask: Ask) {
        self.tell(&format!("group {} {group}", ask.signal()));
    }

    /// Takes a process group back, because it has ended.
    pub(crate) fn forget(&self, group: u32) {
        self.tell(&format!("ended {group}"));
    }

    /// Hands a temporary folder over; it is removed when the task ends.
    pub(crate) fn watch_folder(&self, folder: &Path) {
        self.tell(&format!("folder {}", folder.display()));
    }

    /// Marks a command's process, and all it will start, as part of this run.
    pub(crate) fn mark<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env(MARK, &self.mark)
    }

    /// Marked processes that are still there, as `pid (command line)`.
    pub(crate) fn left_over(&self) -> Vec<String> {
        marked(&self.mark).into_iter().map(|pid| format!("{pid} ({})", command_line(pid))).collect()
    }

    /// A broken pipe means that the reaper is gone; then nobody is left to be told.
    fn tell(&self, line: &str) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = pipe.as_mut()
            && let Err(error) = writeln!(pipe, "{line}")
        {
            eprintln!("warning: the reaper does not listen: {error}");
        }
    }
}

impl Reaper {
    /// Ends everything that was handed over, and returns when that is done.
    pub(crate) fn finish(&self) {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = child.as_mut().map(Child::wait) {
            eprintln!("warning: failed to wait for the reaper: {error}");
        }
        *child = None;
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The reaper itself: listens until the pipe closes, then ends what is left.
pub(crate) fn main() {
    let mut groups: BTreeMap<u32, String> = BTreeMap::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut mark = None;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("ended", group)) => {
                group.parse().ok().and_then(|group: u32| groups.remove(&group));
            }
            Some(("folder", folder)) => folders.push(folder.into()),
            Some(("group", rest)) => {
                if let Some((signal, group)) = rest.split_once(' ')
                    && let Ok(group) = group.parse()
                {
                    groups.insert(group, signal.to_owned());
                }
            }
            Some(("mark", name)) => mark = Some(name.to_owned()),
            _ => eprintln!("warning: the reaper was told nonsense: {line}"),
        }
    }
    for (group, signal) in &groups {
        send(signal, &format!("-{group}"));
    }
    wait_until(|| groups.keys().all(|group| !alive(&format!("-{group}"))));
    for group in groups.keys() {
        send("KILL", &format!("-{group}"));
    }
    for pid in mark.iter().flat_map(|mark| marked(mark)) {
        send("KILL", &pid.to_string());
    }
    for folder in folders {
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("warning: failed to remove {}: {error}", folder.display());
        }
    }
}

/// Asks a process group to end, gives it its grace, then ends it.
pub(crate) fn end_group(group: u32, ask: Ask) {
    let target = format!("-{group}");
    send(ask.signal(), &target);
    wait_until(|| !alive(&target));
    send("KILL", &target);
}

/// Sends a signal to a process id, or to a group when `target` begins with a minus sign.
///
/// The shell's own `kill` is used: the standard library has none, and a program of that name is
/// not on every machine. A target that has ended is not an error.
fn send(signal: &str, target: &str) -> bool {
    Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\" 2>/dev/null", "sh", signal, target])
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn alive(target: &str) -> bool {
    send("0", target)
}

/// Returns when `done` holds, or after `GRACE`. Nothing tells a process about the end of one that
/// is not its child, so this has to ask again and again.
fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() && start.elapsed() < GRACE {
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose environment carries the mark. Empty where there is no /proc.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes())
            })
        })
        .collect()
}

fn command_line(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned()
}
