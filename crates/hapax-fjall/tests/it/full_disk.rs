//! A disk that takes no more, by a limit on the size of files: the store says so, keeps what it has
//! answered, goes on answering what needs no writing, and opens again when there is room.
#![cfg(unix)]

use std::error::Error as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hapax::{Claimed, Effect, LeaseError, ManualClock, Settler, Store as _, StoreError};
use hapax_fjall::FileStore;

use crate::support::{DAY, claim, complete, completed_body, granted, options};

const FOLDER: &str = "HAPAX_TEST_FULL_DISK";

/// One mebibyte answers: the journal reaches its limit of 64 MiB before anything else happens.
fn large() -> String {
    "x".repeat(1 << 20)
}

fn is_full(error: &StoreError) -> bool {
    error.source().is_some_and(|source| source.to_string().contains("the disk is full"))
}

#[tokio::test]
async fn a_full_disk_is_said_and_costs_nothing_that_was_answered() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return fill(Path::new(&folder)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "full_disk::a_full_disk_is_said_and_costs_nothing_that_was_answered";
    // Journals are made 64 MiB long, and may not grow past that; the signal is for shells.
    let limited = "trap '' XFSZ; ulimit -f $((64 * 1024 * 1024 / $2)); shift 2; exec \"$@\"";
    let mut child = Command::new("sh");
    child.args(["-c", limited, "sh", "-", &block_bytes().to_string()]);
    child.arg(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--nocapture"]).env(FOLDER, dir.path());
    assert!(child.status().unwrap().success());

    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let answered = std::fs::read_to_string(dir.path().with_extension("answered")).unwrap();
    std::fs::remove_file(dir.path().with_extension("answered")).unwrap();
    let answered: u64 = answered.parse().unwrap();
    assert!(answered >= 60, "{answered}");
    for n in 0..answered {
        assert_eq!(completed_body(&store, n).await.map(|body| body.len()), Some(1 << 20));
    }
    granted(&store, &claim(10_000)).await;
}

/// Fills a store until it fails, in a process whose files are limited.
async fn fill(folder: &Path) {
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(folder, options(&clock)).unwrap();
    let waiting = granted(&store, &claim(1_000_000)).await;
    let mut answered = 0;
    let (open, error) = loop {
        assert!(answered < 1_000, "the limit had no effect");
        let lease = granted(&store, &claim(answered)).await;
        match store.settle(&lease, &complete(&large(), DAY), Settler::Owner).await {
            Ok(()) => answered += 1,
            Err(LeaseError::Store(error)) => break (answered, error),
            Err(LeaseError::Lost(lost)) => panic!("{lost}"),
        }
    };
    assert!(is_full(&error), "{error}");
    assert_eq!(error.effect(), Effect::Unknown, "what was being written may be there");

    let late = store.claim(&claim(2_000_000)).await.expect_err("nothing is written any more");
    assert!(is_full(&late), "{late}");
    assert_eq!(late.effect(), Effect::None);
    let late = store.settle(&waiting, &complete("x", DAY), Settler::Owner).await;
    assert!(matches!(late, Err(LeaseError::Store(error)) if error.effect() == Effect::None));

    assert!(matches!(store.claim(&claim(0)).await, Ok(Claimed::Held(_))), "replays go on");
    assert!(completed_body(&store, answered - 1).await.is_some());
    assert!(store.peek(&waiting.id).await.unwrap().is_some());
    assert!(store.peek(&crate::support::id(open)).await.unwrap().is_some());
    std::fs::write(folder.with_extension("answered"), answered.to_string()).unwrap();
    store.close().expect_err("it could not be closed as it should");
}

/// Shells count file sizes in blocks of 512 or 1024 bytes.
fn block_bytes() -> u64 {
    let written = "trap '' XFSZ; ulimit -f 2; f=$(mktemp); head -c 4096 /dev/zero >$f 2>/dev/null; \
                   wc -c <$f; rm -f $f";
    let output = Command::new("sh").args(["-c", written]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap() / 2
}
