//! Two upgraded connections become one.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::time::timeout;

/// How long one direction may go on when the other has ended. What is spoken over upgrades ends both
/// at once; without a limit a peer that vanished would keep the other side's connection for ever.
const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Copies both ways until both sides have ended, or one failed. It runs apart from the request, on the
/// same core; a drain cuts it (ruling 18).
pub(super) fn join(client: OnUpgrade, upstream: OnUpgrade) {
    tokio::spawn(async move {
        let (client, upstream) = match tokio::try_join!(client, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "upgrade failed");
                return;
            }
        };
        let (client_reads, client_writes) = split(TokioIo::new(client));
        let (upstream_reads, upstream_writes) = split(TokioIo::new(upstream));
        let mut out = Box::pin(pour(client_reads, upstream_writes));
        let mut back = Box::pin(pour(upstream_reads, client_writes));
        let ended = tokio::select! {
            ended = &mut out => match ended {
                Ok(()) => timeout(HALF_OPEN_TIMEOUT, back).await.unwrap_or(Ok(())),
                Err(error) => Err(error),
            },
            ended = &mut back => match ended {
                Ok(()) => timeout(HALF_OPEN_TIMEOUT, out).await.unwrap_or(Ok(())),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "tunnel ended");
        }
    });
}

/// Copies to the end of one direction and passes the end on.
async fn pour(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}
