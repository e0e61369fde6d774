//! Two nodes on one server, or one cluster, act as one (EXE-04, CON-06).

use hapax::{Claim, Store as _};

use crate::scene::{RECLAIM, TERM, both, claim, grant, granted, release, settle};
use crate::support::Place;

const ROUNDS: u16 = 20;

fn fifty(n: u16) -> Vec<Claim> {
    (1..=50).map(|by| Claim { on_lapse: RECLAIM, ..claim(n, by) }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exe_04_fifty_claims_over_two_nodes_are_one_grant() {
    for server in both() {
        let place = Place::take(&server);
        let nodes = [place.open(place.options()).await, place.open(place.options()).await];
        for n in 0..ROUNDS {
            assert_eq!(granted(&nodes, fifty(n)).await, 1, "round {n}");
            // All others see the one that runs.
            let seen = nodes[1].peek(&claim(n, 0).id).await.unwrap().expect("a record");
            assert_eq!(seen.record.attempts, 1);
            assert_eq!(seen.record.history.entries().len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn con_06_fifty_claims_on_what_was_released_or_lapsed_are_one_grant() {
    for server in both() {
        let place = Place::take(&server);
        let nodes = [place.open(place.options()).await, place.open(place.options()).await];
        for n in 0..ROUNDS {
            let first = grant(&nodes[0], &Claim { on_lapse: RECLAIM, ..claim(n, 100) }).await;
            if n % 2 == 0 {
                settle(&nodes[0], &first, &release()).await;
            } else {
                place.clock.advance(TERM);
            }
            assert_eq!(granted(&nodes, fifty(n)).await, 1, "round {n}");
            let seen = nodes[0].peek(&first.id).await.unwrap().expect("a record");
            assert_eq!(seen.record.attempts, 2);
            assert!(seen.record.fence > first.fence);
        }
    }
}
