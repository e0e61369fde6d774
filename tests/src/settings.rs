//! What a gateway is started with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Ended, Gateway, STUCK, binary};

/// What a gateway is started with. It may be started again and again on the same folder.
#[derive(Debug)]
pub struct Settings {
    config: String,
    disk_may_fill: bool,
    environment: Vec<(String, String)>,
    flags: Vec<String>,
    folder: Arc<TempDir>,
    listen: String,
    store: Option<String>,
    tables: String,
    upstream: String,
}

impl Settings {
    /// In front of `upstream`, with a file store in a folder of its own.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    #[must_use]
    pub fn new(upstream: &str) -> Self {
        Self {
            config: String::new(),
            disk_may_fill: false,
            environment: Vec::new(),
            flags: Vec::new(),
            folder: Arc::new(tempfile::tempdir().expect("a temporary folder can be made")),
            listen: "127.0.0.1:0".into(),
            store: None,
            tables: String::new(),
            upstream: upstream.into(),
        }
    }

    /// With these lines in its file of settings.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// With one more flag and its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// With one more environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// So that [`Gateway::fill_disk`] fails its writes instead of ending it.
    #[must_use]
    pub fn disk_may_fill(mut self) -> Self {
        self.disk_may_fill = true;
        self
    }

    /// Listening there.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = address.into();
        self
    }

    /// With another store than its own folder.
    #[must_use]
    pub fn store(mut self, store: &str) -> Self {
        self.store = Some(store.into());
        self
    }

    /// With these tables behind all other lines in its file of settings.
    #[must_use]
    pub fn table(mut self, lines: &str) -> Self {
        self.tables.push_str(lines);
        self
    }

    /// Where the file store lies.
    #[must_use]
    pub fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A folder for what a test wants to keep beside the store.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not come up; with what it said.
    #[must_use]
    pub fn start(&self) -> Gateway {
        let mut gateway = self.spawn();
        let deadline = Instant::now() + STUCK;
        while !gateway.listens_within(Duration::from_millis(100)) {
            let hopeless = !gateway.runs() || Instant::now() > deadline;
            assert!(!hopeless, "the gateway does not come up: {}", gateway.said());
        }
        gateway
    }

    /// Starts it where it must not come up, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn fail(&self) -> Ended {
        self.spawn().ended()
    }

    /// Starts it and kills it after `life`, whether or not it has come up.
    pub fn start_and_kill(&self, life: Duration) {
        let gateway = self.spawn();
        thread::sleep(life);
        gateway.kill();
    }

    fn spawn(&self) -> Gateway {
        let own = format!("file:{}", self.store_folder().display());
        let file = self.file();
        let mut command = if self.disk_may_fill {
            // A signal would end it where a full disk only says no.
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary());
            shell
        } else {
            Command::new(binary())
        };
        command.arg("serve").args(["--upstream", &self.upstream, "--listen", &self.listen]);
        command.args(["--admin", "127.0.0.1:0", "--store", self.store.as_deref().unwrap_or(&own)]);
        command.arg("--config").arg(&file).args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Gateway::spawn(command, Some(Arc::clone(&self.folder)))
    }

    /// The file of settings, whole at every moment: another gateway may be reading it.
    fn file(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let file = self.folder.path().join("hapax.toml");
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let written = self.folder.path().join(format!("hapax-{number}.toml"));
        fs::write(&written, format!("{}{}", self.config, self.tables))
            .and_then(|()| fs::rename(&written, &file))
            .expect("the file of settings can be written");
        file
    }
}
