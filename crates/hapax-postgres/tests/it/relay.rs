//! A way to the server that can be cut, mended and blocked, and that counts the server's answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Relay {
    address: SocketAddr,
    answers: Arc<AtomicU64>,
    paused: watch::Sender<bool>,
    running: Mutex<Option<JoinHandle<()>>>,
    server: String,
    pub(crate) url: String,
}

impl Relay {
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (before, host_and_path) = server.rsplit_once('@').expect("a user in the address");
        let (host, path) = host_and_path.split_once('/').expect("a database in the address");
        let relay = Self {
            address,
            answers: Arc::default(),
            paused: watch::Sender::new(false),
            running: Mutex::default(),
            server: host.to_owned(),
            url: format!("{before}@{address}/{path}"),
        };
        relay.run(listener);
        relay
    }

    fn run(&self, listener: TcpListener) {
        let (server, answers) = (self.server.clone(), Arc::clone(&self.answers));
        let paused = self.paused.subscribe();
        let running = tokio::spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, answers) = (server.clone(), Arc::clone(&answers));
                let paused = paused.clone();
                pairs.spawn(async move {
                    let Ok(upstream) = TcpStream::connect(&server).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = upstream.into_split();
                    tokio::select! {
                        () = pass(from_client, to_server, paused.clone(), None) => {}
                        () = pass(from_server, to_client, paused, Some(&answers)) => {}
                    }
                });
            }
        });
        *self.running.lock().expect("no panic") = Some(running);
    }

    /// Ends every connection, and takes no more.
    pub(crate) async fn cut(&self) {
        let running = self.running.lock().expect("no panic").take();
        if let Some(running) = running {
            running.abort();
            let _aborted = running.await;
        }
    }

    /// Takes connections again, where it did before.
    pub(crate) async fn mend(&self) {
        for _ in 0..100 {
            if let Ok(listener) = TcpListener::bind(self.address).await {
                return self.run(listener);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the port is gone");
    }

    /// Lets nothing pass, without a word.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// How often the server has said that it is ready for the next question.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut paused: watch::Receiver<bool>,
    count: Option<&AtomicU64>,
) {
    let mut bytes = vec![0; 64 * 1024];
    let mut frames = Frames::default();
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if paused.wait_for(|paused| !paused).await.is_err() {
            return;
        }
        if let Some(count) = count {
            count.fetch_add(frames.ready(&bytes[..length]), Ordering::SeqCst);
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// Finds the frames of the server's side: a byte that says what it is, then the length of the rest.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    is_under_way: bool,
    skip: usize,
}

impl Frames {
    /// How many of the frames that begin in these bytes say "ready".
    fn ready(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ready = 0;
        // Asked for TLS, the server says no by a byte that is no frame.
        if !self.is_under_way && bytes.first() == Some(&b'N') {
            bytes = &bytes[1..];
        }
        self.is_under_way = true;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (5 - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [kind, length @ ..] = self.head.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                ready += u64::from(*kind == b'Z');
                self.skip = u32::from_be_bytes(length) as usize - 4;
                self.head.clear();
            }
        }
        ready
    }
}
