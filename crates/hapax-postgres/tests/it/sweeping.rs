//! Expiry by many nodes at once, and sizes (TTL-02, TTL-03).

use std::num::NonZeroU32;
use std::time::Duration;

use hapax::{Claim, Store as _};

use crate::scene::{Onlooker, RETENTION, claim, complete, grant, settle};
use crate::support::{Place, server_url};

const EXPIRED: u16 = 150;

fn at_most(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ttl_02_many_sweepers_remove_each_expired_record_once_and_no_other() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let nodes = [place.open(place.options()).await, place.open(place.options()).await];
    for n in 0..EXPIRED {
        let lease = grant(&nodes[0], &claim(n, 1)).await;
        settle(&nodes[1], &lease, &complete()).await;
    }
    place.clock.advance(RETENTION);
    let alive = grant(&nodes[0], &claim(EXPIRED, 1)).await;
    let sweeping: Vec<_> = (0..8)
        .map(|n| {
            let node = nodes[n % 2].clone();
            tokio::spawn(async move {
                let mut swept = 0;
                // More than enough for one sweeper alone.
                for _ in 0..EXPIRED {
                    swept += node.sweep(at_most(10)).await.expect("a sweep");
                }
                swept
            })
        })
        .collect();
    let mut swept = 0;
    for each in sweeping {
        swept += each.await.unwrap();
    }
    assert_eq!(swept, u32::from(EXPIRED));
    let page = nodes[0].list(&hapax::ListQuery { limit: 1_000, ..Default::default() }).await;
    let ids: Vec<_> = page.unwrap().records.into_iter().map(|record| record.id).collect();
    assert_eq!(ids, [alive.id]);
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    assert_eq!(onlooker.number("SELECT count(*) FROM hapax.record").await, 1);
}

#[tokio::test]
async fn ttl_02_a_sweep_passes_over_what_somebody_works_on() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let ending = |n| Claim { unknown_retention: Some(RETENTION), ..claim(n, 1) };
    for n in 0..4 {
        // Two expire because they are done, two because nobody knows.
        let lease = grant(&node, &ending(n)).await;
        if n < 2 {
            settle(&node, &lease, &complete()).await;
        }
    }
    place.clock.advance(2 * RETENTION);
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    let (one, two) = (ending(0).id, ending(2).id);
    onlooker
        .run(&format!(
            "BEGIN; SELECT FROM hapax.record WHERE id IN ('\\x{one}', '\\x{two}') FOR UPDATE"
        ))
        .await;
    assert_eq!(node.sweep(at_most(100)).await.unwrap(), 2);
    assert_eq!(node.sweep(at_most(100)).await.unwrap(), 0);
    onlooker.run("ROLLBACK").await;
    assert_eq!(node.sweep(at_most(100)).await.unwrap(), 2);
}

/// Records are spread, and counted without being looked at.
#[tokio::test]
async fn records_are_spread_over_partitions_and_counted_from_what_the_server_knows() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    for n in 0..200 {
        grant(&node, &claim(n, 1)).await;
    }
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    let used = onlooker.number("SELECT count(DISTINCT tableoid) FROM hapax.record").await;
    assert_eq!(used, 16);
    onlooker.run("ANALYZE hapax.record").await;
    let stats = node.stats().await.unwrap();
    assert!((200..=400).contains(&stats.records), "{stats:?}");
    assert!(stats.bytes >= 16 * 8_192, "{stats:?}");
    // Deleting is what the next user of the place does; the server is to know of it.
    onlooker.run("DELETE FROM hapax.record").await;
    onlooker.run("ANALYZE hapax.record").await;
}

/// Renewals change no index, and so need no room but in their page, of which a fifth is left free.
#[tokio::test]
async fn renewals_stay_within_their_page() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    let id = lease.id;
    let page =
        format!("SELECT (ctid::text::point)[0]::bigint FROM hapax.record WHERE id = '\\x{id}'");
    let before = onlooker.number(&page).await;
    for _ in 0..3 {
        node.renew(&lease, Duration::from_secs(10), None).await.expect("a renewal");
    }
    assert_eq!(onlooker.number(&page).await, before);
    let indexed = format!(
        "SELECT count(*) FROM pg_indexes WHERE schemaname = '{}' AND indexdef ~ \
         '\\m(moment|progress)\\M'",
        place.schema
    );
    assert_eq!(onlooker.number(&indexed).await, 0);
}
