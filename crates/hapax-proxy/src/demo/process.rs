//! The gateway of the demo: this very program, as a process that can be killed.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::DemoError;

/// How long the gateway may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// What a shop would write: payments need a key, and their failures are kept.
const SETTINGS: &str =
    "[[route]]\nmatch = \"/payments/**\"\nkey = \"required\"\nfailures = \"strict\"\n";

/// A temporary folder, removed with all that is in it when it is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one that only this user can read.
    pub(super) fn create() -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("hapax-demo-{}-{now}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        fs::write(path.join("hapax.toml"), SETTINGS)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind does no harm, and there is nobody left to tell.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// A running gateway; dropping it kills it.
#[derive(Debug)]
pub(super) struct GatewayProcess {
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    child: Child,
    /// Its addresses, which are its own while it is down.
    places: Vec<Place>,
    upstream: SocketAddr,
}

/// A port of loopback for a gateway that is started again.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    /// Bound and deaf: nobody is given the port who asks for any, and the gateway may listen there.
    _socket: Option<TcpSocket>,
}

impl Place {
    fn take() -> Result<Self, DemoError> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        if !cfg!(target_os = "linux") {
            // Elsewhere two sockets do not share a port in this way: the gateway finds one itself.
            return Ok(Self { address: any, _socket: None });
        }
        let bound = TcpSocket::new_v4().and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(any)?;
            Ok(Self { address: socket.local_addr()?, _socket: Some(socket) })
        });
        bound.map_err(DemoError::Listen)
    }
}

impl GatewayProcess {
    /// Starts one in front of `upstream` on free ports, with its store in `folder`.
    pub(super) async fn start(folder: &Folder, upstream: SocketAddr) -> Result<Self, DemoError> {
        let places = [Place::take()?, Place::take()?];
        let [listen, admin] = [places[0].address, places[1].address];
        let mut gateway = Self::launch(folder, upstream, listen, admin).await?;
        gateway.places.extend(places);
        Ok(gateway)
    }

    /// kill -9: no warning, no goodbye.
    pub(super) fn kill(&mut self) {
        // It is a child of this process, so it is there until it was waited for.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    /// Starts it again on the same folder and ports.
    pub(super) async fn restart(&mut self, folder: &Folder) -> Result<(), DemoError> {
        self.kill();
        let places = std::mem::take(&mut self.places);
        *self = Self::launch(folder, self.upstream, self.address, self.admin).await?;
        self.places = places;
        Ok(())
    }

    async fn launch(
        folder: &Folder,
        upstream: SocketAddr,
        listen: SocketAddr,
        admin: SocketAddr,
    ) -> Result<Self, DemoError> {
        let failed = |error: io::Error| DemoError::Gateway(error.to_string());
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["serve", "--upstream", &format!("http://{upstream}")]);
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.arg("--store").arg(format!("file:{}", folder.0.join("store").display()));
        command.arg("--config").arg(folder.0.join("hapax.toml"));
        // What is set for this user's own gateway does not concern the demo's.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HAPAX_") {
                command.env_remove(name);
            }
        }
        command.env("HAPAX_LOG", "error");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let output = child.stdout.take();
        let places = Vec::new();
        let mut gateway = Self { address: listen, admin, child, places, upstream };
        let output = output.ok_or_else(|| DemoError::Gateway("it has no output".into()))?;
        let told = tokio::task::spawn_blocking(move || addresses(output));
        match timeout(START_TIMEOUT, told).await {
            Ok(Ok(Some((address, admin)))) => {
                (gateway.address, gateway.admin) = (address, admin);
                Ok(gateway)
            }
            Ok(Ok(None) | Err(_)) => Err(DemoError::Gateway("it ended at once".into())),
            Err(_elapsed) => {
                gateway.kill();
                Err(DemoError::Gateway(format!("it was not up within {START_TIMEOUT:?}")))
            }
        }
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads where it listens; whatever it says after that is read as well, so that it never blocks.
fn addresses(output: ChildStdout) -> Option<(SocketAddr, SocketAddr)> {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let (mut data, mut admin) = (None, None);
    for line in lines.by_ref() {
        data = data.or_else(|| address(&line, "listening on "));
        admin = admin.or_else(|| address(&line, "admin on "));
        if let (Some(data), Some(admin)) = (data, admin) {
            std::thread::spawn(move || lines.for_each(drop));
            return Some((data, admin));
        }
    }
    None
}

fn address(line: &str, beginning: &str) -> Option<SocketAddr> {
    let url = line.strip_prefix(beginning)?.split_whitespace().next()?;
    url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()
}
