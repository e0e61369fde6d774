//! An application commits while its claim is taken over, again and again: one effect, and a record
//! that agrees (B03).

use std::sync::Arc;
use std::time::Duration;

use hapax::{Claimed, Kept, Lease, Status, Store as _};
use hapax_postgres::PgStore;

use crate::application::{Application, LEVELS, OVERTAKEN, TRY_AGAIN};
use crate::scene::{TERM, grant, hold, id_of, kept, transactional};
use crate::support::{Place, server_url};

const ROUNDS: u16 = 300;

/// Does the work under a lease as an application should: tries again when it is told to. Whether it is
/// this attempt's.
async fn do_it(application: &mut Application, level: &str, lease: &Lease) -> bool {
    let answer = format!("200, '{{}}', '{}'", lease.attempt);
    loop {
        match application.transact(level, lease, &answer).await {
            Ok(()) => return true,
            code if code == TRY_AGAIN => {}
            code => {
                assert_eq!(code, OVERTAKEN);
                return false;
            }
        }
    }
}

/// Claims until it is known what became of the key, and does the work if it must.
async fn take_over(
    node: &PgStore,
    application: &mut Application,
    level: &str,
    n: u16,
) -> (bool, Kept) {
    let mut by = 2;
    let mut did_it = false;
    loop {
        match node.claim(&transactional(n, by)).await.expect("an answer") {
            Claimed::Granted(lease) => {
                did_it |= do_it(application, level, &lease).await;
                assert!(did_it, "nobody comes after this one");
                // It says so; the store would know it anyway.
                let with = hapax::Settlement::Release {
                    retention: hapax::Retention::For(TERM),
                    status: Some(500),
                };
                node.settle(&lease, &with, hapax::Settler::Owner).await.expect("a settlement");
                by += 1;
            }
            Claimed::Held(seen) => match seen.record.status(seen.now) {
                Status::Completed => return (did_it, kept(seen)),
                // The first one is at it.
                Status::Running { .. } => tokio::time::sleep(Duration::from_micros(200)).await,
                other => panic!("the key is {other:?}"),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b03_of_a_commit_and_a_takeover_one_wins_and_the_store_knows_which() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let nodes = [place.open(place.options()).await, place.open(place.options()).await];
    let mut onlooker = Application::start(&server, &place.schema).await;
    let mut first = Application::join(&server, &place.schema).await;
    let mut second = Application::join(&server, &place.schema).await;
    let mut won = [0, 0];
    // By how many microseconds the second begins after the first. Whoever has lost begins earlier the next
    // time, and ever more so until he wins: on any machine, each meets every moment of the other's work.
    let (mut lag, mut step, mut last) = (0_i64, 60, false);
    for n in 0..ROUNDS {
        let level = LEVELS[usize::from(n) % 3];
        let lease = grant(&nodes[0], &transactional(n, 1)).await;
        place.clock.advance(TERM);
        let barrier = Arc::new(tokio::sync::Barrier::new(2));
        let (begin, node) = (barrier.clone(), nodes[1].clone());
        let of_second = u64::try_from(lag).unwrap_or(0);
        let of_first = u64::try_from(-lag).unwrap_or(0);
        let taking = tokio::spawn(async move {
            begin.wait().await;
            tokio::time::sleep(Duration::from_micros(of_second)).await;
            let taken = take_over(&node, &mut second, level, n).await;
            (taken, second)
        });
        barrier.wait().await;
        tokio::time::sleep(Duration::from_micros(of_first)).await;
        let was_first = do_it(&mut first, level, &lease).await;
        let ((was_second, answer), back) = taking.await.unwrap();
        second = back;
        assert!(was_first != was_second, "round {n}: {was_first} {was_second}");
        won[usize::from(was_second)] += 1;
        step = if was_second == last { 2 * step.min(500_000) } else { 60 };
        lag += if was_second { step } else { -step };
        last = was_second;
        let effects = onlooker.effects(id_of(n)).await;
        assert_eq!(effects.len(), 1, "round {n}");
        let Kept::Response(answer) = answer else { panic!("it was told") };
        assert_eq!(answer.body, effects[0], "round {n}");
        assert_eq!(
            hold(&nodes[0], &transactional(n, 9)).await.record.attempts,
            1 + u32::from(was_second)
        );
    }
    assert_eq!(onlooker.seats().await, 0);
    // Both ends of the race were seen, or it was none.
    assert!(won[0] > 0 && won[1] > 0, "{won:?}");
}
