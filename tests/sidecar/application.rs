//! The samples in other languages, as processes that can be killed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hapax_tests::{Port, STUCK, holds_within};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Node,
    Python,
}

/// How an application is started, again and again at the same address.
pub(crate) struct Sample {
    database: String,
    /// The Node sample beside what it imports.
    folder: TempDir,
    isolation: &'static str,
    language: Language,
    pause_ms: u32,
    port: Port,
}

/// A running application; dropping it kills it.
pub(crate) struct Application(Child);

impl Sample {
    /// A sample on this database that pauses between its steps.
    pub(crate) fn new(language: Language, database: String, pause_ms: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Language::Node = language {
            let script = sources().join("node/orders.mjs");
            fs::copy(script, folder.path().join("orders.mjs")).unwrap();
            let imports = libraries().join("node/node_modules");
            std::os::unix::fs::symlink(imports, folder.path().join("node_modules")).unwrap();
        }
        let isolation = "read committed";
        Self { database, folder, isolation, language, pause_ms, port: Port::take() }
    }

    /// In another isolation level.
    pub(crate) fn isolation(mut self, level: &'static str) -> Self {
        self.isolation = level;
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&self) -> Application {
        let mut command = match self.language {
            Language::Node => {
                let mut command = Command::new("node");
                command.arg(self.folder.path().join("orders.mjs"));
                command
            }
            Language::Python => {
                let mut command = Command::new("python3");
                command.arg(sources().join("python/orders.py"));
                command.env("PYTHONPATH", libraries().join("python"));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
        };
        command
            .env("DATABASE_URL", &self.database)
            .env("ISOLATION", self.isolation)
            .env("LISTEN", self.port.address().to_string())
            .env("PAUSE_MS", self.pause_ms.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the sample starts");
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "the sample does not listen: {line}");
        Application(child)
    }
}

impl Application {
    /// kill -9, at once.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        assert!(holds_within(STUCK, || matches!(self.0.try_wait(), Ok(Some(_)))));
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/same-transaction")
}

fn libraries() -> PathBuf {
    let folder = std::env::var_os("HAPAX_TEST_SAMPLES");
    folder.expect("HAPAX_TEST_SAMPLES names what the samples import: `cargo xtask test`").into()
}
