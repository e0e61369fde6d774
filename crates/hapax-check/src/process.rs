//! The layer under test as a process: started, killed, paused and started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::port::Reserved;
use crate::profile::layer_profile_toml;

/// A layer must listen this long after its start at the latest.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What the placeholders of a command stand for.
#[derive(Clone, Debug)]
pub(crate) struct Placeholders {
    pub listen: String,
    pub upstream: String,
    pub admin: String,
    pub config: PathBuf,
    pub store_dir: PathBuf,
}

/// A layer's process and how to start it.
#[derive(Debug)]
pub(crate) struct Process {
    words: Vec<String>,
    places: Placeholders,
    output: PathBuf,
    /// Its ports, which nobody else is to be given while it does not run.
    reserved: Vec<Reserved>,
    child: Option<Child>,
}

impl Process {
    /// Prepares a process; writes the configuration file that `{config}` names.
    pub(crate) fn prepare(
        command: &str,
        places: Placeholders,
        output: PathBuf,
        reserved: Vec<Reserved>,
    ) -> Result<Self, String> {
        let words = split(command)?;
        if words.is_empty() {
            return Err("--command is empty: give it the program that starts the layer".to_owned());
        }
        let store = format!("file:{}", places.store_dir.display());
        let toml =
            layer_profile_toml(&places.upstream, &places.listen, &store, Some(&places.admin));
        std::fs::write(&places.config, toml)
            .map_err(|error| format!("failed to write {}: {error}", places.config.display()))?;
        Ok(Self { words, places, output, reserved, child: None })
    }

    /// Everything the layer wrote to its two output streams.
    pub(crate) fn output(&self) -> &Path {
        &self.output
    }

    /// Starts the layer and waits until it listens.
    pub(crate) async fn start(&mut self) -> Result<(), String> {
        let started = self.start_once().await;
        if started.is_ok() || self.child.is_some() || self.reserved.is_empty() {
            return started;
        }
        // Perhaps it does not ask for the reuse of addresses, and its ports must be free altogether.
        self.reserved.clear();
        self.start_once().await
    }

    async fn start_once(&mut self) -> Result<(), String> {
        let places = &self.places;
        let words: Vec<String> = self
            .words
            .iter()
            .map(|word| {
                word.replace("{listen}", &places.listen)
                    .replace("{upstream}", &places.upstream)
                    .replace("{admin}", &places.admin)
                    .replace("{config}", &places.config.display().to_string())
                    .replace("{store_dir}", &places.store_dir.display().to_string())
            })
            .collect();
        let failed = |what: &str, error: std::io::Error| {
            format!("--command {:?} could not {what}: {error}", self.words.join(" "))
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.output)
            .map_err(|error| failed("open its log", error))?;
        let again = log.try_clone().map_err(|error| failed("open its log", error))?;
        // A group of its own, so that a wrapper's children are signalled with it.
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("be started", error))?;
        self.child = Some(child);
        self.wait_listening().await
    }

    async fn wait_listening(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if TcpStream::connect(&self.places.listen).await.is_ok() {
                return Ok(());
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.child = None;
                let end = self.last_output();
                return Err(format!("the layer ended at start with {status}: {end}"));
            }
            if Instant::now() > deadline {
                let end = self.last_output();
                return Err(format!("the layer did not listen on {}: {end}", self.places.listen));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn last_output(&self) -> String {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Kills the layer at once (SIGKILL) and waits for its end.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait().await;
        }
    }

    /// Asks the layer to stop (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the layer's own end; the exit code, or nothing when it still runs.
    pub(crate) async fn wait_end(&mut self, within: Duration) -> Option<Option<i32>> {
        let child = self.child.as_mut()?;
        let status = tokio::time::timeout(within, child.wait()).await.ok()?.ok()?;
        self.child = None;
        Some(status.code())
    }

    pub(crate) fn running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    /// Pauses the layer (SIGSTOP).
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused layer go on (SIGCONT).
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // The group may have ended on its own in the meantime.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Splits a command into words as a shell would, with quotes but without any expansion.
fn split(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    match quote {
        Some(open) => Err(format!("--command {command:?} has an unclosed {open}: close it")),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_split_at_spaces_outside_quotes() {
        assert_eq!(split("a  'b c' \"\" d\"e f\"").unwrap(), ["a", "b c", "", "de f"]);
        assert!(split("a 'b").is_err());
    }
}
