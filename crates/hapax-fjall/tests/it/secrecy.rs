//! What is on the disk (SEC-04).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hapax::{Claim, Key, ManualClock, Principal, Settler, Store as _};
use hapax_fjall::FileStore;

use crate::support::{DAY, claim, complete, granted, options};

fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            return holds(&entry.path(), text);
        }
        let bytes = fs::read(entry.path()).unwrap();
        let written = bytes.split(|byte| *byte == 0).filter(|part| part.len() >= text.len());
        written.into_iter().any(|part| part.windows(text.len()).any(|w| w == text.as_bytes()))
    })
}

#[tokio::test]
async fn sec_04_no_key_credential_or_scope_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let credential = "Bearer tangerine-credential";
    let principal = Principal::Credential { kind: "authorization", value: credential.as_bytes() };
    let scope = store.secret().scope(principal, "payments.example");
    let key = Key::from_text("order-4711-tangerine-key").unwrap();
    let claim = Claim { id: store.secret().record_id(&scope, &key), ..claim(1) };
    let lease = granted(&store, &claim).await;
    store.settle(&lease, &complete("tangerine-answer", DAY), Settler::Owner).await.unwrap();
    store.close().unwrap();
    assert!(holds(dir.path(), "tangerine-answer"), "answers are kept as they are");
    for secret in [key.as_str(), "tangerine-credential", "payments.example", &scope.short()] {
        assert!(!holds(dir.path(), secret), "{secret} is on the disk");
    }
}

#[cfg(unix)]
#[test]
fn the_folder_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/here");
    let clock = Arc::new(ManualClock::default());
    drop(FileStore::open(&path, options(&clock)).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("hapax-store")), 0o600);
}
