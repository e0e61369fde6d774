//! Signals that end the program well.

/// Waits for SIGTERM or SIGINT. Listens from the call on, not from the first poll, so that a signal
/// during start-up is not lost.
pub fn told_to_stop() -> impl Future<Output = ()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (terminate, interrupt) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        async move {
            match (terminate, interrupt) {
                (Ok(mut terminate), Ok(mut interrupt)) => {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                }
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "cannot hear signals");
                    std::future::pending().await
                }
            }
        }
    }
    #[cfg(not(unix))]
    async {
        let _heard = tokio::signal::ctrl_c().await;
    }
}
