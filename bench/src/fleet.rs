//! All servers of one block of measurements, each on a free port, and the folder they live in.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::candidate::Candidate;
use crate::child::{self, Server};
use crate::load::{self, Keys, Load};
use crate::machine;

/// Connections that fill a store.
const FILL_CONNECTIONS: usize = 256;

/// Filling slower than this many keys per second is given up.
const FILL_PER_SECOND_MIN: u64 = 500;

/// The upstream and the gateways in front of it. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Fleet {
    folder: PathBuf,
    gateway: Option<PathBuf>,
    pub(crate) upstream: Server,
    nginx: Option<Server>,
    textbook: Option<Server>,
    pass_through: Option<Server>,
    memory: Option<Server>,
    file: Option<Server>,
    /// The admin listener of the gateway on `file:`.
    pub(crate) file_admin: Option<SocketAddr>,
}

/// The seed of the keys a fleet's stores are filled with.
const FILLED_SEED: u64 = 0x4841_5041_5821;

impl Fleet {
    /// Starts what the candidates need.
    pub(crate) fn start(
        candidates: &[Candidate],
        gateway: Option<&Path>,
        folder: &Path,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let upstream = Server::own(&["upstream"])?;
        let mut fleet = Self {
            folder: folder.to_owned(),
            gateway: gateway.map(Path::to_owned),
            upstream,
            nginx: None,
            textbook: None,
            pass_through: None,
            memory: None,
            file: None,
            file_admin: None,
        };
        let needs = |one: &[Candidate]| one.iter().any(|candidate| candidates.contains(candidate));
        let address = fleet.upstream.address;
        if needs(&[Candidate::Nginx])
            && let Some(program) = nginx_program()
        {
            fleet.nginx = Some(start_nginx(&program, address, &folder.join("nginx"))?);
        }
        if needs(&[Candidate::Textbook]) {
            fleet.textbook = Some(Server::own(&["textbook", &address.to_string()])?);
        }
        if needs(&[Candidate::PassThrough]) {
            fleet.pass_through =
                fleet.start_gateway("pass", "memory:", child::free_address()?, None)?;
        }
        if needs(&[Candidate::FirstMemory, Candidate::ReplayMemory]) {
            fleet.memory =
                fleet.start_gateway("memory", "memory:", child::free_address()?, None)?;
        }
        if needs(&[Candidate::FirstFile, Candidate::ReplayFile]) {
            fleet.start_file(None)?;
        }
        Ok(fleet)
    }

    /// A fleet of one gateway on `file:` whose route `/short/**` forgets after `retention`.
    pub(crate) fn with_short_route(
        gateway: &Path,
        folder: &Path,
        retention: Duration,
    ) -> io::Result<Self> {
        let mut fleet = Self::start(&[], Some(gateway), folder)?;
        fleet.start_file(Some(retention))?;
        Ok(fleet)
    }

    /// The server a candidate's requests go to; `None` where it is not installed.
    pub(crate) fn server(&self, candidate: Candidate) -> Option<&Server> {
        match candidate {
            Candidate::Direct => Some(&self.upstream),
            Candidate::FirstFile | Candidate::ReplayFile => self.file.as_ref(),
            Candidate::FirstMemory | Candidate::ReplayMemory => self.memory.as_ref(),
            Candidate::Nginx => self.nginx.as_ref(),
            Candidate::PassThrough => self.pass_through.as_ref(),
            Candidate::Textbook => self.textbook.as_ref(),
        }
    }

    /// The keys a candidate sends when the stores hold `live_keys`.
    pub(crate) fn keys(candidate: Candidate, live_keys: u64, turn: u64) -> Keys {
        if candidate.is_replay() {
            Keys::Known { seed: FILLED_SEED, count: live_keys }
        } else {
            Keys::New { seed: FILLED_SEED + 1 + turn }
        }
    }

    /// Runs `keys` requests with new keys through a candidate's gateway, and returns how long
    /// that took and by how much the gateway has grown, in bytes.
    pub(crate) fn fill(
        &self,
        candidate: Candidate,
        path: &'static str,
        keys: u64,
    ) -> io::Result<Filled> {
        let Some(server) = self.server(candidate) else { return Ok(Filled::default()) };
        let before = machine::resident_bytes(server.pid())?;
        let start = Instant::now();
        let limit = Duration::from_secs(30 + keys / FILL_PER_SECOND_MIN);
        let load = Load {
            address: server.address,
            path,
            connections: FILL_CONNECTIONS,
            keys: Keys::All { seed: FILLED_SEED, count: keys },
            from: start,
            until: start + limit,
        };
        let seen = load::start(&load).finish()?;
        if seen.errors > 0 || seen.answered < keys {
            let first = seen.first_error.unwrap_or_else(|| "too slow".to_owned());
            let message = format!("filling the store: {} of {keys} keys, {first}", seen.answered);
            return Err(io::Error::other(message));
        }
        let after = machine::resident_bytes(server.pid())?;
        Ok(Filled { took: start.elapsed(), grown_bytes: after.saturating_sub(before) })
    }

    /// Ends the gateway on `file:` and starts it again on the same folder; returns how long it
    /// took from start to accepting.
    pub(crate) fn restart_file(&mut self) -> io::Result<Option<Duration>> {
        let Some(mut server) = self.file.take() else { return Ok(None) };
        server.end();
        drop(server);
        self.start_file(None)?;
        Ok(self.file.as_ref().map(|server| server.started_in))
    }

    fn start_file(&mut self, short: Option<Duration>) -> io::Result<()> {
        let admin = child::free_address()?;
        let store = format!("file:{}", self.folder.join("store").display());
        self.file = self.start_gateway("file", &store, admin, short)?;
        self.file_admin = Some(admin);
        Ok(())
    }

    fn start_gateway(
        &self,
        name: &str,
        store: &str,
        admin: SocketAddr,
        short: Option<Duration>,
    ) -> io::Result<Option<Server>> {
        let Some(gateway) = &self.gateway else { return Ok(None) };
        let listen = child::free_address()?;
        let upstream = self.upstream.address;
        let mut config = format!(
            "listen = \"{listen}\"\nupstream = \"http://{upstream}\"\nstore = \"{store}\"\n\n\
             [admin]\nlisten = \"{admin}\"\n\n\
             [[route]]\nmatch = \"/plain/**\"\nkey = \"off\"\n\n\
             [[route]]\nmatch = \"/keyed/**\"\nkey = \"required\"\n"
        );
        if let Some(retention) = short {
            let seconds = retention.as_secs();
            config.push_str(&format!(
                "\n[[route]]\nmatch = \"/short/**\"\nkey = \"required\"\nretention = \"{seconds}s\"\n"
            ));
        }
        let file = self.folder.join(format!("{name}.toml"));
        fs::write(&file, config)?;
        let arguments = [Path::new("serve"), Path::new("--config"), &file];
        let log = self.folder.join(format!("{name}.log"));
        Server::program(gateway, &arguments, listen, &log).map(Some)
    }
}

/// What filling a store has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled {
    pub(crate) took: Duration,
    pub(crate) grown_bytes: u64,
}

/// nginx, on the search path or where packages put it.
pub(crate) fn nginx_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("nginx"))
        .find(|file| file.is_file())
}

fn start_nginx(program: &Path, upstream: SocketAddr, folder: &Path) -> io::Result<Server> {
    fs::create_dir_all(folder)?;
    let listen = child::free_address()?;
    let (home, cores) = (folder.display(), machine::cores());
    let config = format!(
        "daemon off;\nworker_processes {cores};\npid {home}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n\
         \x20 client_body_temp_path {home}/body;\n  proxy_temp_path {home}/proxy;\n\
         \x20 fastcgi_temp_path {home}/fastcgi;\n  uwsgi_temp_path {home}/uwsgi;\n\
         \x20 scgi_temp_path {home}/scgi;\n\
         \x20 upstream bench {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}\n\
         \x20 server {{\n    listen {listen};\n    location / {{\n\
         \x20     proxy_pass http://bench;\n      proxy_http_version 1.1;\n\
         \x20     proxy_set_header Connection \"\";\n      proxy_set_header Host $host;\n\
         \x20   }}\n  }}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let arguments = [Path::new("-p"), folder, Path::new("-c"), &file];
    Server::program(program, &arguments, listen, &folder.join("nginx.log"))
}
