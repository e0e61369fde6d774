//! Servers under test: child processes on free ports, ended when they are dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to accept its first connection.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long a server may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(20);

/// How long a gateway may take to say whether it is ready.
const READY_ANSWER_LIMIT: Duration = Duration::from_secs(10);

const ANNOUNCEMENT: &str = "listening on ";

/// Tells the parent where this process listens.
pub(crate) fn announce(address: SocketAddr) {
    println!("{ANNOUNCEMENT}{address}");
}

/// The signal that asks a server to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// PostgreSQL: at once, whoever is connected; its folder is thrown away.
    Quit,
    /// Everybody else.
    Terminate,
}

impl Ask {
    const fn signal(self) -> &'static str {
        match self {
            Self::Quit => "QUIT",
            Self::Terminate => "TERM",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    ask: Ask,
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to its first accepted connection.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts one of this program's own servers, which tells its address.
    pub(crate) fn own(arguments: &[&str]) -> io::Result<Self> {
        let start = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let address = line.trim().strip_prefix(ANNOUNCEMENT).and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| io::Error::other("a server told no address"))?;
        Ok(Self { ask: Ask::Terminate, child, address, started_in: start.elapsed() })
    }

    /// Starts another program, and waits until it accepts at `address`. What it prints goes to
    /// the file `log`, whose end is shown when it does not come up.
    pub(crate) fn program<A: AsRef<OsStr>>(
        program: &Path,
        arguments: &[A],
        address: SocketAddr,
        log: &Path,
    ) -> io::Result<Self> {
        Self::command(Command::new(program).args(arguments), address, log, Ask::Terminate)
    }

    /// The same with a command of one's own, ended by a signal of its own.
    pub(crate) fn command(
        command: &mut Command,
        address: SocketAddr,
        log: &Path,
        ask: Ask,
    ) -> io::Result<Self> {
        let start = Instant::now();
        let program = command.get_program().to_string_lossy().into_owned();
        let output = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
        let mut server = Self { ask, child, address, started_in: Duration::ZERO };
        loop {
            if TcpStream::connect(address).is_ok() {
                server.started_in = start.elapsed();
                return Ok(server);
            }
            if server.child.try_wait()?.is_some() || start.elapsed() > START_LIMIT {
                let told = fs::read_to_string(log).unwrap_or_default();
                let message = format!("{program} does not come up: {told}");
                return Err(io::Error::other(message));
            }
            // A refused connection is all that a server that is not up yet has to say.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a gateway says on its admin listener that it is ready; it may end instead, also
    /// after it has begun to listen.
    pub(crate) fn wait_until_ready(&mut self, admin: SocketAddr, log: &Path) -> io::Result<()> {
        let start = Instant::now();
        loop {
            if is_ready(admin).unwrap_or(false) {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || start.elapsed() > START_LIMIT {
                let told = fs::read_to_string(log).unwrap_or_default();
                return Err(io::Error::other(format!("the gateway is not ready: {told}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to end, and waits until it has; true when it ended by itself.
    pub(crate) fn end(&mut self) -> bool {
        let asked = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\" 2>/dev/null", "sh", self.ask.signal()])
            .arg(self.child.id().to_string())
            .status()
            .is_ok_and(|status| status.success());
        let start = Instant::now();
        while asked && start.elapsed() < END_LIMIT {
            if let Ok(Some(_)) = self.child.try_wait() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // It has ended already, or will not otherwise; both are fine for a benchmark.
        drop(self.child.kill());
        drop(self.child.wait());
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.end();
        }
    }
}

fn is_ready(admin: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(READY_ANSWER_LIMIT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.contains(" 200 "))
}

/// An address on loopback that was free a moment ago.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
