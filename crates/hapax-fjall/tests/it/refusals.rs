//! Folders that are not opened, each told apart, none written into or taken for an empty store.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hapax::{ManualClock, Settler, Store as _};
use hapax_fjall::{FileOptions, FileStore, OpenError};

use crate::support::{DAY, claim, complete, completed_body, copy_folder, granted, options, rerun};

fn error(path: &Path, options: FileOptions) -> OpenError {
    FileStore::open(path, options).expect_err("the folder must be refused")
}

/// A closed store with some finished keys.
async fn filled(path: &Path, keys: u64) {
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(path, options(&clock)).unwrap();
    for n in 0..keys {
        let lease = granted(&store, &claim(n)).await;
        store.settle(&lease, &complete("done", DAY * 1_000), Settler::Owner).await.unwrap();
    }
}

#[test]
fn a_folder_in_use_is_refused_in_this_process_and_in_another() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(path) = std::env::var_os("HAPAX_TEST_IN_USE") {
        let refused = error(Path::new(&path), FileOptions::default());
        assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
        return;
    }
    let store = FileStore::open(dir.path(), FileOptions::default()).unwrap();
    let refused = error(dir.path(), FileOptions::default());
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("is in use; stop the other process"));
    let name = "refusals::a_folder_in_use_is_refused_in_this_process_and_in_another";
    let child = rerun(name).env("HAPAX_TEST_IN_USE", dir.path()).status().unwrap();
    assert!(child.success());
    drop(store);
    FileStore::open(dir.path(), FileOptions::default()).expect("it is free again");
}

#[test]
fn a_foreign_folder_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("photos")).unwrap();
    let refused = error(dir.path(), FileOptions::default());
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["photos"]);
}

#[tokio::test]
async fn a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1).await;
    let label = dir.path().join("hapax-store");
    let text = fs::read_to_string(&label).unwrap();
    fs::write(&label, text.replace("version 1", "version 9")).unwrap();
    let refused = error(dir.path(), FileOptions::default());
    assert!(matches!(refused, OpenError::Newer { version: 9, .. }), "{refused}");
}

#[tokio::test]
async fn ruling_8_another_secret_or_other_scope_rules_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let made = || FileOptions {
        scope_rules: "principal, authority".to_owned(),
        secret: Some(b"one secret".to_vec()),
        ..FileOptions::default()
    };
    drop(FileStore::open(dir.path(), made()).unwrap());
    let secret = Some(b"another".to_vec());
    for other in [
        FileOptions { secret, ..made() },
        FileOptions { secret: None, ..made() },
        FileOptions { scope_rules: "shared".to_owned(), ..made() },
    ] {
        let refused = error(dir.path(), other);
        assert!(matches!(refused, OpenError::Refused { .. }), "{refused}");
    }
    FileStore::open(dir.path(), made()).expect("nothing was changed");
}

#[test]
fn ruling_8_a_secret_is_made_once_and_kept() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let digest = |path: &Path| {
        let store = FileStore::open(path, FileOptions::default()).unwrap();
        store.secret().digest(b"test", &[])
    };
    assert_eq!(digest(one.path()), digest(one.path()));
    assert_ne!(digest(one.path()), digest(two.path()));
    let secret = Some(b"mine".to_vec());
    let refused = error(one.path(), FileOptions { secret, ..FileOptions::default() });
    assert!(matches!(refused, OpenError::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn missing_files_are_damage_and_never_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 5).await;
    for what in ["label", "text", "data", "version", "journal", "keyspaces", "bucket"] {
        let copy = copy_folder(dir.path());
        spoil(copy.path(), what);
        let refused = error(copy.path(), FileOptions::default());
        assert!(matches!(refused, OpenError::Damaged { .. }), "{what}: {refused}");
        assert!(refused.to_string().contains("is damaged"), "{what}: {refused}");
    }
}

fn spoil(folder: &Path, what: &str) {
    let data = folder.join("data");
    match what {
        "bucket" => {
            let keyspaces = fs::read_dir(data.join("keyspaces")).unwrap();
            let newest = keyspaces.map(|entry| entry.unwrap().path()).max().unwrap();
            fs::remove_dir_all(newest).unwrap();
        }
        "data" => fs::remove_dir_all(data).unwrap(),
        "journal" => {
            crate::support::journals(&data)
                .iter()
                .for_each(|journal| fs::remove_file(journal).unwrap());
        }
        "keyspaces" => fs::remove_dir_all(data.join("keyspaces")).unwrap(),
        "label" => fs::remove_file(folder.join("hapax-store")).unwrap(),
        "text" => fs::write(folder.join("hapax-store"), "hello").unwrap(),
        "version" => fs::remove_file(data.join("version")).unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_flipped_bit_in_synced_bytes_is_damage_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 12).await;
    let journal = crate::support::journals(&dir.path().join("data")).pop().unwrap();
    let name = journal.file_name().unwrap().to_owned();
    let length = crate::support::written(&journal);
    let mut damaged = 0;
    // The last batch says nothing but that the store was closed: it may go.
    for at in (5..length - 200).step_by(193) {
        let copy = copy_folder(dir.path());
        let journal = copy.path().join("data").join(&name);
        let mut bytes = fs::read(&journal).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&journal, bytes).unwrap();
        match FileStore::open(copy.path(), FileOptions::default()) {
            Err(OpenError::Damaged { .. }) => damaged += 1,
            Err(other) => panic!("byte {at}: {other}"),
            // Not every bit is under a checksum: then all must be there.
            Ok(store) => {
                for n in 0..12 {
                    let body = completed_body(&store, n).await;
                    assert_eq!(body.as_deref(), Some(b"done".as_slice()), "byte {at}, key {n}");
                }
            }
        }
    }
    assert!(damaged > 10, "{damaged}");
}
