//! Hints: whoever waits on another node is told when the operation has ended (CON-03).

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::harness::Harness;
use super::scene::{
    LATE_ANSWER, RECLAIM, Scene, Stop, claim, complete, doubt, ensure, failed, id, id_of, release,
};
use super::{Case, Ending};
use crate::machine::{Claim, Claimed, Settlement};
use crate::scope::RecordId;
use crate::store::Store;

/// Only a hint that was lost takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often, and for how long each time, a hint is listened for that may have been told too early.
const ROUNDS: u8 = 250;
const ROUND: Duration = Duration::from_millis(80);

pub(super) const CASES: [Case; 2] = [
    Case::free("con_03_hint_of_each_end_reaches_another_node", |h| Ending::of(each_end(h))),
    Case::free("con_03_hint_after_a_takeover_reaches_who_waited_before_it", |h| {
        Ending::of(after_takeover(h))
    }),
];

/// A node that runs operations, which is the scene's, and one where others wait for them.
struct Nodes {
    scene: Scene,
    waiting: Arc<dyn Store>,
}

impl Nodes {
    /// Both, once the one hears the other, and what it hears.
    async fn listening(
        harness: &dyn Harness,
    ) -> Result<(Self, BoxStream<'static, RecordId>), Stop> {
        let scene = Scene::new(harness).await;
        let [_, waiting] = scene.nodes().await;
        let Some(mut hints) = waiting.wakeups() else {
            return Err(Stop::Skipped("it gives no hints".to_owned()));
        };
        let nodes = Self { scene, waiting };
        for n in 0..ROUNDS {
            nodes.end_awaited(&claim(n), &release()).await?;
            if let Ok(Some(hint)) = timeout(ROUND, hints.next()).await {
                ensure(hint == id(), format_args!("a hint of {hint}, which nobody claimed"))?;
                return Ok((nodes, hints));
            }
        }
        failed("nothing is heard, however often somebody who is waited for ends")
    }

    /// Somebody on the other node has to wait.
    async fn hold(&self, id: RecordId) -> Result<(), Stop> {
        match self.waiting.claim(&Claim { id, ..claim(u8::MAX) }).await? {
            Claimed::Granted(lease) => failed(format_args!("a claim was granted: {lease:?}")),
            Claimed::Held(_) => Ok(()),
        }
    }

    /// Runs an operation that somebody waits for, to its end.
    async fn end_awaited(&self, wish: &Claim, with: &Settlement) -> Result<(), Stop> {
        let lease = self.scene.grant(wish).await?;
        self.hold(wish.id).await?;
        self.scene.settled(&lease, with).await
    }
}

/// Listens until there was a hint of each; others may come late, or twice.
async fn hear(
    mut hints: BoxStream<'static, RecordId>,
    mut missing: Vec<RecordId>,
) -> Result<(), Stop> {
    let all = async {
        while !missing.is_empty() {
            let Some(hint) = hints.next().await else { return };
            missing.retain(|id| *id != hint);
        }
    };
    let _late = timeout(PATIENCE, all).await;
    ensure(missing.is_empty(), format_args!("no hint came of {missing:?}"))
}

async fn each_end(harness: &dyn Harness) -> Result<(), Stop> {
    let (nodes, hints) = Nodes::listening(harness).await?;
    let mut ended = Vec::new();
    for (n, with) in (2..).zip([complete(1), release(), doubt()]) {
        nodes.end_awaited(&Claim { id: id_of(n), ..claim(1) }, &with).await?;
        ended.push(id_of(n));
    }
    hear(hints, ended).await
}

/// Who was held for an attempt that vanished waits for the end of the next one.
async fn after_takeover(harness: &dyn Harness) -> Result<(), Stop> {
    let (nodes, hints) = Nodes::listening(harness).await?;
    let wish = |n| Claim { id: id_of(2), on_lapse: RECLAIM, ..claim(n) };
    nodes.scene.grant(&wish(1)).await?;
    nodes.hold(id_of(2)).await?;
    nodes.scene.advance(LATE_ANSWER).await;
    let second = nodes.scene.grant(&wish(2)).await?;
    nodes.scene.settled(&second, &complete(1)).await?;
    hear(hints, vec![id_of(2)]).await
}
