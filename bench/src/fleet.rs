//! All servers of one block of measurements, each on a free port, and the folder they live in.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::candidate::{Candidate, StoreKind};
use crate::child::{self, Server};
use crate::load::{self, Keys, Load};
use crate::machine;

/// Connections that fill a store.
const FILL_CONNECTIONS: usize = 256;

/// Filling slower than this many keys per second is given up.
const FILL_PER_SECOND_MIN: u64 = 500;

/// A gateway and its admin listener.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) admin: SocketAddr,
    pub(crate) server: Server,
}

/// The upstream and the gateways in front of it. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Fleet {
    folder: PathBuf,
    gateway: Option<PathBuf>,
    gateways: BTreeMap<StoreKind, Gateway>,
    nginx: Option<Server>,
    pass_through: Option<Gateway>,
    textbook: Option<Server>,
    pub(crate) upstream: Server,
}

/// The seed of the keys a fleet's stores are filled with.
const FILLED_SEED: u64 = 0x4841_5041_5821;

impl Fleet {
    /// Starts what the candidates need. Gateways on shared stores are of [`start_shared`].
    ///
    /// [`start_shared`]: Self::start_shared
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
            gateways: BTreeMap::new(),
            nginx: None,
            pass_through: None,
            textbook: None,
            upstream,
        };
        let address = fleet.upstream.address;
        if candidates.contains(&Candidate::Nginx)
            && let Some(program) = nginx_program()
        {
            fleet.nginx = Some(start_nginx(&program, address, &folder.join("nginx"))?);
        }
        if candidates.contains(&Candidate::Textbook) {
            fleet.textbook = Some(Server::own(&["textbook", &address.to_string()])?);
        }
        if candidates.contains(&Candidate::PassThrough) {
            fleet.pass_through = fleet.start_gateway("pass", "memory:", "")?;
        }
        let needs = |kind| candidates.iter().any(|candidate| candidate.store() == Some(kind));
        if needs(StoreKind::Memory) {
            fleet.add(StoreKind::Memory, "memory:", "")?;
        }
        if needs(StoreKind::File) {
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

    /// Starts a gateway on a shared store, whose records there are apart from those of others under
    /// `name`.
    pub(crate) fn start_shared(
        &mut self,
        kind: StoreKind,
        url: &str,
        name: &str,
    ) -> io::Result<()> {
        let section = match kind {
            StoreKind::File | StoreKind::Memory => String::new(),
            StoreKind::Postgres => format!("\n[postgres]\nschema = \"{name}\"\n"),
            StoreKind::RedisAlways | StoreKind::RedisCluster | StoreKind::RedisEverysec => {
                format!("\n[redis]\nprefix = \"{name}\"\n")
            }
        };
        self.add(kind, url, &section)
    }

    /// Ends a gateway, if it is there.
    pub(crate) fn end(&mut self, kind: StoreKind) {
        if let Some(mut gateway) = self.gateways.remove(&kind) {
            gateway.server.end();
        }
    }

    /// The server a candidate's requests go to; `None` where it is not there.
    pub(crate) fn server(&self, candidate: Candidate) -> Option<&Server> {
        match candidate {
            Candidate::Direct => Some(&self.upstream),
            Candidate::First(kind) | Candidate::Replay(kind) => {
                self.gateways.get(&kind).map(|gateway| &gateway.server)
            }
            Candidate::Nginx => self.nginx.as_ref(),
            Candidate::PassThrough => self.pass_through.as_ref().map(|gateway| &gateway.server),
            Candidate::Raw(_) => None,
            Candidate::Textbook => self.textbook.as_ref(),
        }
    }

    /// The admin listener of the gateway on a store.
    pub(crate) fn admin(&self, kind: StoreKind) -> Option<SocketAddr> {
        self.gateways.get(&kind).map(|gateway| gateway.admin)
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
        if !self.gateways.contains_key(&StoreKind::File) {
            return Ok(None);
        }
        self.end(StoreKind::File);
        self.start_file(None)?;
        Ok(self.gateways.get(&StoreKind::File).map(|gateway| gateway.server.started_in))
    }

    fn start_file(&mut self, short: Option<Duration>) -> io::Result<()> {
        let store = format!("file:{}", self.folder.join("store").display());
        let route = short.map_or_else(String::new, |retention| {
            let seconds = retention.as_secs();
            format!(
                "\n[[route]]\nmatch = \"/short/**\"\nkey = \"required\"\nretention = \"{seconds}s\"\n"
            )
        });
        self.add(StoreKind::File, &store, &route)
    }

    fn add(&mut self, kind: StoreKind, store: &str, more: &str) -> io::Result<()> {
        if let Some(gateway) = self.start_gateway(&format!("{kind:?}"), store, more)? {
            self.gateways.insert(kind, gateway);
        }
        Ok(())
    }

    fn start_gateway(&self, name: &str, store: &str, more: &str) -> io::Result<Option<Gateway>> {
        let Some(gateway) = &self.gateway else { return Ok(None) };
        let (listen, admin) = (child::free_address()?, child::free_address()?);
        let upstream = self.upstream.address;
        let config = format!(
            "listen = \"{listen}\"\nupstream = \"http://{upstream}\"\nstore = \"{store}\"\n\n\
             [admin]\nlisten = \"{admin}\"\n\n\
             [[route]]\nmatch = \"/plain/**\"\nkey = \"off\"\n\n\
             [[route]]\nmatch = \"/keyed/**\"\nkey = \"required\"\n{more}"
        );
        let file = self.folder.join(format!("{name}.toml"));
        fs::write(&file, config)?;
        let arguments = [Path::new("serve"), Path::new("--config"), &file];
        let log = self.folder.join(format!("{name}.log"));
        let mut server = Server::program(gateway, &arguments, listen, &log)?;
        server.wait_until_ready(admin, &log)?;
        Ok(Some(Gateway { admin, server }))
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
