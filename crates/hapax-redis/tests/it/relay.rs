//! A way to the server that can be cut, mended and blocked, and that counts what is sent over it.

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
    questions: Arc<AtomicU64>,
    paused: watch::Sender<bool>,
    running: Mutex<Option<JoinHandle<()>>>,
    server: Mutex<String>,
    pub(crate) url: String,
}

impl Relay {
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let host = server.strip_prefix("redis://").expect("no user and no database");
        let relay = Self {
            address,
            questions: Arc::default(),
            paused: watch::Sender::new(false),
            running: Mutex::default(),
            server: Mutex::new(host.to_owned()),
            url: format!("redis://{address}"),
        };
        relay.run(listener);
        relay
    }

    fn run(&self, listener: TcpListener) {
        let server = self.server.lock().expect("no panic").clone();
        let questions = Arc::clone(&self.questions);
        let paused = self.paused.subscribe();
        let running = tokio::spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, questions) = (server.clone(), Arc::clone(&questions));
                let paused = paused.clone();
                pairs.spawn(async move {
                    let Ok(upstream) = TcpStream::connect(&server).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = upstream.into_split();
                    tokio::select! {
                        () = pass(from_client, to_server, paused.clone(), Some(&questions)) => {}
                        () = pass(from_server, to_client, paused, None) => {}
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

    /// The same, to another server.
    pub(crate) async fn mend_towards(&self, server: &str) {
        let host = server.strip_prefix("redis://").expect("no user and no database");
        *self.server.lock().expect("no panic") = host.to_owned();
        self.mend().await;
    }

    /// Lets nothing pass, without a word.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// How many pieces were sent to the server; whoever asks one thing after the other sends one each.
    pub(crate) fn questions(&self) -> u64 {
        self.questions.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut paused: watch::Receiver<bool>,
    count: Option<&AtomicU64>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if paused.wait_for(|paused| !paused).await.is_err() {
            return;
        }
        if let Some(count) = count {
            count.fetch_add(1, Ordering::SeqCst);
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
