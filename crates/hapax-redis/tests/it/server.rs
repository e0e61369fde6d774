//! Servers of a test's own, each in a folder of its own on a free port.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hapax_store_tests::Port;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue};
use tempfile::TempDir;

/// What a server answers in time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its port for the other nodes of a cluster is so much higher.
const BUS_OFFSET: u16 = 10_000;

/// A Redis or Valkey; ended when dropped.
pub(crate) struct Server {
    child: Option<Child>,
    folder: TempDir,
    pub(crate) port: u16,
    /// Its own while it is down, so that it can be started again.
    _ports: Vec<Port>,
    settings: Vec<String>,
}

impl Server {
    /// A server with these settings, `name value` each; nothing is kept on disk unless they say so.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let ports = free_ports();
        let mut server = Self::start_at(ports[0].number(), settings).await;
        server._ports = ports;
        server
    }

    /// The same where another one was before, whose port it still is.
    pub(crate) async fn start_at(port: u16, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { child: None, folder, port, _ports: Vec::new(), settings };
        server.run().await;
        server
    }

    /// Starts it with what is in its folder.
    pub(crate) async fn run(&mut self) {
        let mut command = Command::new(program());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(self.folder.path());
        for setting in &self.settings {
            let (name, value) = setting.split_once(' ').expect("a name and a value");
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.child.insert(command.spawn().expect("the server's program"));
        let own = format!("process_id:{}\r", child.id());
        let address = format!("redis://127.0.0.1:{}", self.port);
        for _ in 0..4_000 {
            if let Ok(info) = try_tell::<String>(&address, "INFO").await
                // A server that still reads its file answers this too.
                && info.contains("\nloading:0")
            {
                assert!(info.contains(&own), "another server is there");
                return;
            }
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server does not start: {ended:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server does not answer");
    }

    /// Ends it without a word, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was running");
            child.wait().expect("it is over");
        }
    }

    /// Stops it as if its machine were suspended; its connections stay.
    pub(crate) fn pause(&self) {
        let child = self.child.as_ref().expect("it runs");
        let told = Command::new("kill").args(["-STOP", &child.id().to_string()]).status();
        assert!(told.expect("the program `kill`").success());
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Tells it something, words with blanks between.
    pub(crate) async fn tell<T: FromRedisValue>(&self, words: &str) -> T {
        tell(&self.address(), words).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells the server at an address something, words with blanks between.
pub(crate) async fn tell<T: FromRedisValue>(address: &str, words: &str) -> T {
    try_tell(address, words).await.expect("the server knows that")
}

/// The same where the server may refuse.
pub(crate) async fn try_tell<T: FromRedisValue>(
    address: &str,
    words: &str,
) -> redis::RedisResult<T> {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connect(address).await?).await
}

/// A connection over which each answer may take its time.
pub(crate) async fn connect(address: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    redis::Client::open(address)?.get_multiplexed_async_connection_with_config(&config).await
}

/// What the variable names, or what is installed.
fn program() -> PathBuf {
    let named = std::env::var_os("HAPAX_TEST_REDIS_PROGRAM").filter(|program| !program.is_empty());
    if let Some(program) = named {
        return program.into();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = |name| std::env::split_paths(&paths).map(move |folder| folder.join(name));
    let mut candidates = ["redis-server", "valkey-server"].into_iter().flat_map(there);
    candidates.find(|program| program.is_file()).expect("redis-server on the path")
}

/// A port, and the one for the other nodes of a cluster.
fn free_ports() -> Vec<Port> {
    for _ in 0..1_000 {
        let port = Port::take();
        if let Some(bus) = port.number().checked_add(BUS_OFFSET)
            && let Ok(bus) = Port::at(bus)
        {
            return vec![port, bus];
        }
    }
    panic!("no port is free");
}
