//! Starts one server process and waits for the line with which it says that it is ready.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use crate::context::{Context, Error};
use crate::reaper::Ask;

/// How many of a server's last lines are shown when it does not come up.
const TAIL_LINES: usize = 20;

/// A running server. The reaper ends it; dropping this only stops listening to it.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    lines: Receiver<String>,
    tail: VecDeque<String>,
}

impl Server {
    /// Starts `command` in a process group of its own.
    pub(super) fn launch(
        context: &Context,
        command: &mut Command,
        ask: Ask,
    ) -> Result<Self, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Error::doing(format!("start {name}")))?;
        context.reaper.watch(child.id(), ask);
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            drain(output, sender.clone());
        }
        if let Some(output) = child.stderr.take() {
            drain(output, sender);
        }
        // Waited for, so that a server that ended is not mistaken for one that runs.
        thread::spawn(move || child.wait());
        Ok(Self { name, lines, tail: VecDeque::new() })
    }

    /// Returns when the server has printed a line that contains `text`.
    pub(super) fn wait_for(&mut self, text: &str, deadline: Instant) -> Result<(), Error> {
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(()),
                Ok(line) => {
                    self.tail.push_back(line);
                    if self.tail.len() > TAIL_LINES {
                        self.tail.pop_front();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.silent("ended")),
                Err(RecvTimeoutError::Timeout) => return Err(self.silent("took too long")),
            }
        }
    }

    fn silent(&self, how: &str) -> Error {
        let tail: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        Error::new(format!("start {}: it {how}; its last lines:\n{}", self.name, tail.join("\n")))
    }
}

/// Reads to the end, also when nobody listens any more: a full pipe would stop the server.
fn drain(source: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
            // Nobody listens once the server is ready.
            drop(lines.send(String::from_utf8_lossy(&line).into_owned()));
        }
    });
}

/// A new empty folder, removed when the task ends. Others may enter it: PostgreSQL runs as an
/// unprivileged user and keeps its own folder inside to itself.
pub(super) fn temporary_folder(context: &Context, name: &str) -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let unique = format!("hapax-{name}-{}-{count}", std::process::id());
    let folder = std::env::temp_dir().join(unique);
    fs::create_dir(&folder).map_err(Error::doing(format!("create {}", folder.display())))?;
    context.reaper.watch_folder(&folder);
    Ok(folder)
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16, Error> {
    let doing = || Error::doing("find a free port");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(doing())?;
    Ok(listener.local_addr().map_err(doing())?.port())
}
