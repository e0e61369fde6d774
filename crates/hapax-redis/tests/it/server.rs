//! Servers of a test's own, each in a folder of its own on a free port.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;

/// What a server answers in time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its port for the other nodes of a cluster is so much higher.
const BUS_OFFSET: u16 = 10_000;

/// A Redis or Valkey; ended when dropped.
pub(crate) struct Server {
    child: Option<Child>,
    folder: TempDir,
    pub(crate) port: u16,
    settings: Vec<String>,
}

impl Server {
    /// A server with these settings, `name value` each; nothing is kept on disk unless they say so.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        for _ in 0..10 {
            if let Some(server) = Self::try_start(free_port(), settings).await {
                return server;
            }
        }
        panic!("somebody else always takes the port");
    }

    /// The same where another one was before.
    pub(crate) async fn start_at(port: u16, settings: &[&str]) -> Self {
        Self::try_start(port, settings).await.expect("the port is free")
    }

    async fn try_start(port: u16, settings: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { child: None, folder, port, settings };
        server.try_run().await.then_some(server)
    }

    /// Starts it again with what is in its folder.
    pub(crate) async fn run(&mut self) {
        assert!(self.try_run().await, "the server does not start again");
    }

    /// Whether it runs, and not another one on the same port.
    async fn try_run(&mut self) -> bool {
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
        for _ in 0..2_000 {
            if let Ok(connection) = connect(self.port).await
                && let Ok(info) = ask::<String>(connection, "INFO").await
            {
                // A server that still reads its file answers this too.
                if info.contains("\nloading:0") {
                    return info.contains(&own);
                }
            }
            if child.try_wait().expect("a child").is_some() {
                return false;
            }
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
    let client = redis::Client::open(address)?;
    ask(client.get_multiplexed_async_connection().await?, words).await
}

async fn connect(port: u16) -> redis::RedisResult<MultiplexedConnection> {
    let client = redis::Client::open(("127.0.0.1", port))?;
    client.get_multiplexed_async_connection().await
}

async fn ask<T: FromRedisValue>(
    mut connection: MultiplexedConnection,
    words: &str,
) -> redis::RedisResult<T> {
    connection.set_response_timeout(PATIENCE);
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await
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

fn free_port() -> u16 {
    for _ in 0..1_000 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        if let Some(bus) = port.checked_add(BUS_OFFSET)
            && TcpListener::bind(("127.0.0.1", bus)).is_ok()
        {
            return port;
        }
    }
    panic!("no port is free");
}
