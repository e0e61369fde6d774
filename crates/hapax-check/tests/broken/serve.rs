//! Listens, and stops in good order on SIGTERM.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
    let (closing, closed) = watch::channel(false);
    let mut open = JoinSet::new();
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
        open.spawn(connection(stream, layer.clone(), closed.clone()));
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    if defect == Defect::DiesOnTerm {
        std::process::exit(1);
    }
    // Whoever waits for an answer gets it, and so does a record whose client went away.
    closing.send_replace(true);
    let finished = async {
        while open.join_next().await.is_some() {}
        while !layer.idle() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(30), finished).await;
    std::process::exit(0);
}

/// Serves one connection until its end, or until the answer under way when the layer stops.
async fn connection(stream: TcpStream, layer: Arc<Layer>, mut closed: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let layer = layer.clone();
        async move { Ok::<_, std::convert::Infallible>(layer.handle(request).await) }
    });
    let builder = Builder::new(TokioExecutor::new());
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = closed.wait_for(|closing| *closing) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = serving.await;
}
