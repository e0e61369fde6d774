//! Listens, and stops in good order on SIGTERM.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use super::Defect;
use super::flow::Layer;
use super::store::Store;

/// Serves until SIGTERM; everything comes from the environment.
pub(crate) async fn serve() {
    let setting = |name: &str| std::env::var(name).unwrap();
    let defect = Defect::named(&setting("CHECK_DEFECT"));
    let store = Store::open(PathBuf::from(setting("CHECK_STORE")), defect);
    let layer = Arc::new(Layer::new(setting("CHECK_UPSTREAM"), store, defect));
    let listener = TcpListener::bind(setting("CHECK_LISTEN")).await.unwrap();
    let mut stop = signal(SignalKind::terminate()).unwrap();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stop.recv() => break,
        };
        if defect == Defect::Passthrough {
            let upstream = setting("CHECK_UPSTREAM");
            tokio::spawn(async move {
                let mut stream = stream;
                let Ok(mut upstream) = TcpStream::connect(upstream).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
            });
            continue;
        }
        let layer = layer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let layer = layer.clone();
                async move { Ok::<_, std::convert::Infallible>(layer.handle(request).await) }
            });
            let builder = Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        });
    }
    drop(listener);
    if defect == Defect::DiesOnTerm {
        std::process::exit(1);
    }
    for _ in 0..300 {
        if layer.idle() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The last answers are still on their way to their clients.
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::process::exit(0);
}
