//! Runs a command in its own process group, shows and keeps what it prints, and never waits
//! longer than allowed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::context::Error;
use crate::reaper::{self, Ask, Reaper};

/// How long the output of a group may stay open after its leader has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(3);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// Everything it printed, both streams, without colours.
    pub(crate) lines: Vec<String>,
    /// What to add to a failure: the exit status, or that the time was over.
    pub(crate) how: String,
}

enum Event {
    Line(Stream, Vec<u8>),
    Closed,
    Ended(io::Result<ExitStatus>),
}

#[derive(Clone, Copy)]
enum Stream {
    Error,
    Output,
}

/// Runs `command` to its end, but not past `deadline`; then its whole group is ended.
pub(crate) fn run(
    reaper: &Reaper,
    command: &mut Command,
    deadline: Instant,
) -> Result<Finished, Error> {
    follow_command(reaper, command, deadline, true)
}

/// The same, but shows nothing.
pub(crate) fn capture(
    reaper: &Reaper,
    command: &mut Command,
    deadline: Instant,
) -> Result<Finished, Error> {
    follow_command(reaper, command, deadline, false)
}

fn follow_command(
    reaper: &Reaper,
    command: &mut Command,
    deadline: Instant,
    shown: bool,
) -> Result<Finished, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(Error::doing(format!("run {name}")))?;
    let group = child.id();
    reaper.watch(group, Ask::Terminate);
    let events = listen(&mut child);
    thread::scope(|scope| {
        scope.spawn(|| {
            let ended = child.wait();
            // The receiver may have given up; then nobody wants to know.
            drop(events.0.send(Event::Ended(ended)));
        });
        let finished = follow(&events.1, group, deadline, shown);
        reaper.forget(group);
        finished
    })
}

/// One thread per stream turns its lines into events.
fn listen(child: &mut Child) -> (Sender<Event>, Receiver<Event>) {
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        read_lines(output, Stream::Output, sender.clone());
    }
    if let Some(output) = child.stderr.take() {
        read_lines(output, Stream::Error, sender.clone());
    }
    (sender, receiver)
}

fn read_lines(source: impl Read + Send + 'static, stream: Stream, events: Sender<Event>) {
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        loop {
            let mut line = Vec::new();
            match source.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) if events.send(Event::Line(stream, line)).is_err() => return,
                Ok(_) => {}
            }
        }
        drop(events.send(Event::Closed));
    });
}

fn follow(
    events: &Receiver<Event>,
    group: u32,
    deadline: Instant,
    shown: bool,
) -> Result<Finished, Error> {
    let mut lines = Vec::new();
    let mut open = 2;
    let mut ended = None;
    let mut until = deadline;
    while open > 0 || ended.is_none() {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Closed) => open -= 1,
            Ok(Event::Ended(status)) => {
                ended = Some(status);
                until = deadline.min(Instant::now() + OUTPUT_GRACE);
            }
            Ok(Event::Line(stream, line)) => {
                if shown {
                    show(stream, &line);
                }
                lines.push(without_colours(&String::from_utf8_lossy(&line)));
            }
            // Somebody in the group outlived its leader and holds the output open.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                reaper::end_group(group, Ask::Terminate);
                let how = "was ended: the time limit was over".to_owned();
                return Ok(Finished { success: false, lines, how });
            }
        }
    }
    reaper::end_group(group, Ask::Terminate);
    match ended {
        None => Err(Error::new("learn how a command ended")),
        Some(Err(error)) => Err(Error::doing("wait for a command")(error)),
        Some(Ok(status)) => {
            Ok(Finished { success: status.success(), lines, how: format!("ended with {status}") })
        }
    }
}

/// Passes a line on to the same stream. A reader that went away (`| head`) must not stop the run.
fn show(stream: Stream, line: &[u8]) {
    drop(match stream {
        Stream::Error => io::stderr().write_all(line),
        Stream::Output => io::stdout().write_all(line),
    });
}

/// Takes terminal escape sequences (`ESC [ ... letter`) and the line end out.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.trim_end();
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        let end = tail.find(|c: char| c.is_ascii_alphabetic()).map_or(tail.len(), |end| end + 1);
        rest = &tail[end..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Finished {
        let reaper = Reaper::detached();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(&reaper, &mut command, Instant::now() + limit).unwrap()
    }

    #[test]
    fn both_streams_are_kept_and_success_is_told() {
        let finished = shell("echo one; echo two >&2", Duration::from_secs(10));
        assert!(finished.success);
        let mut lines = finished.lines;
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn failure_is_told() {
        assert!(!shell("exit 3", Duration::from_secs(10)).success);
    }

    #[test]
    fn what_outlives_its_limit_is_ended_with_its_children() {
        let start = Instant::now();
        let finished = shell("sleep 60 & sleep 60", Duration::from_millis(200));
        assert!(!finished.success);
        assert!(finished.how.contains("time limit"), "{}", finished.how);
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(without_colours("\u{1b}[32;1m  ok\u{1b}[0m 3\n"), "  ok 3");
    }
}
