//! One core: a thread, its event loop and its connections.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::{mpsc, watch};

use super::config::ListenConfig;
use super::connection::{Handler, Site};
use super::operations::Operations;
use super::server::Stage;
use super::socket::{Place, Socket};
use super::watch::Sweep;

/// What a handler knows of the core it runs on.
#[derive(Clone, Debug)]
pub struct Core {
    /// From 0.
    pub index: usize,
    /// What a drain waits for on this core.
    pub operations: Operations,
}

/// A connection on its way to its core.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

/// What the acceptor and the drain see of a core.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) inbox: mpsc::UnboundedSender<Arrival>,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) operations: Operations,
}

/// Serves the connections that arrive until the stage is [`Stage::Cut`].
pub(super) async fn run<H>(
    core: Core,
    handler: H,
    config: Arc<ListenConfig>,
    mut inbox: mpsc::UnboundedReceiver<Arrival>,
    mut stage: watch::Receiver<Stage>,
) where
    H: Handler,
{
    let sweep = Arc::new(Sweep::new(&config));
    let sweeping = Arc::clone(&sweep);
    tokio::spawn(async move { sweeping.run().await });
    let site = Arc::new(Site::new(handler, core, Arc::clone(&config)));
    loop {
        tokio::select! {
            arrival = inbox.recv() => match arrival {
                Some(arrival) => admit(&site, &sweep, arrival),
                None => break,
            },
            changed = stage.changed() => {
                let now = *stage.borrow_and_update();
                match (changed, now) {
                    (Ok(()), Stage::Serving) => {}
                    (Ok(()), Stage::Draining) => break,
                    (Ok(()), Stage::Cut) | (Err(_), _) => return,
                }
            }
        }
    }
    // What arrives from now on is dropped with the inbox.
    drop(inbox);
    sweep.finish_all();
    let _server_gone = stage.wait_for(|stage| *stage == Stage::Cut).await;
}

fn admit<H>(site: &Arc<Site<H>>, sweep: &Sweep, arrival: Arrival)
where
    H: Handler,
{
    let Arrival { stream, peer, place } = arrival;
    let stream = stream.set_nodelay(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
    match stream {
        Ok(stream) => {
            let watch = sweep.watch();
            let config = Arc::clone(&site.config);
            let socket = Socket::new(stream, place, Arc::clone(&watch), config);
            tokio::spawn(Arc::clone(site).serve(socket, watch, peer));
        }
        Err(error) => tracing::debug!(%peer, %error, "connection lost before it was served"),
    }
}
