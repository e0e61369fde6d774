//! The sizes of the store, looked up now and then.

use std::sync::Arc;
use std::time::Duration;

use hapax::Store;

use super::Metrics;

/// Between two looks: sizes move slowly, and a shared store is asked by every node.
pub const REFRESH_PAUSE: Duration = Duration::from_secs(10);

/// Looks up the sizes of `store` at once and then after every `pause`, for ever: run it in a task of
/// its own and abort that. Each look may take up to `timeout`.
///
/// Cancel-safe.
pub async fn refresh(
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    pause: Duration,
    timeout: Duration,
) {
    loop {
        match tokio::time::timeout(timeout, store.stats()).await {
            Ok(Ok(stats)) => metrics.sized(&stats),
            Ok(Err(error)) => {
                metrics.unsized_store();
                tracing::warn!(%error, "failed to look up the store's sizes");
            }
            Err(_elapsed) => {
                metrics.unsized_store();
                tracing::warn!(?timeout, "failed to look up the store's sizes in time");
            }
        }
        tokio::time::sleep(pause).await;
    }
}
