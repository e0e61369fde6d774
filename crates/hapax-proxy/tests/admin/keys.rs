//! `hapax keys` against the listener that it was made for.

use std::ffi::OsString;
use std::net::SocketAddr;

use hapax_proxy::admin::serve;
use hapax_proxy::cli::{Command, parse};
use hapax_proxy::keys::{KeysError, run};
use tokio::net::TcpListener;

use crate::desk::{Desk, completed, id};

async fn listen(desk: &Desk) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, desk.router.clone(), std::future::pending()));
    address
}

async fn keys(address: SocketAddr, words: &[&str]) -> Result<String, KeysError> {
    let admin = address.to_string();
    let line = ["hapax", "keys"].into_iter().chain(words.iter().copied());
    let line = line.chain(["--admin", &admin, "--token", "t0ken"]).map(OsString::from);
    let Command::Keys(arguments) = parse(line).unwrap().command else { panic!("keys") };
    run(&arguments, &|_name| None).await
}

/// ADM-02, ADM-03: the whole way from the list to a settled and a purged record.
#[tokio::test]
async fn adm_03_a_doubt_is_listed_shown_settled_and_purged_from_a_shell() {
    let desk = Desk::guarded("t0ken");
    let (doubted, done) = (desk.doubt(1).await, desk.claim(2).await);
    desk.own(&done, completed(200, b"")).await;
    let address = listen(&desk).await;

    let listed = keys(address, &["list", "--state", "in_doubt"]).await.unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(&id(&doubted)), "{listed}");
    let shown = keys(address, &["show", &id(&doubted)]).await.unwrap();
    assert!(shown.contains("timed-out"), "{shown}");

    let refused = keys(address, &["purge", &id(&doubted)]).await.unwrap_err();
    assert!(refused.to_string().contains("409"), "{refused}");
    let settled = ["settle", &id(&doubted), "--outcome", "executed", "--status", "201"];
    let answer = ["--header", "Location: /p/7", "--body", "{\"id\":7}"];
    let said = keys(address, &[&settled[..], &answer].concat()).await.unwrap();
    assert!(said.starts_with("settled"), "{said}");
    let shown = keys(address, &["show", &id(&doubted), "--format", "json"]).await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["state"], &shown["status"]), (&"completed".into(), &201.into()));

    for lease in [&doubted, &done] {
        keys(address, &["purge", &id(lease)]).await.unwrap();
    }
    assert_eq!(keys(address, &["list"]).await.unwrap(), "no records\n");
}

/// ADM-02: by what the caller sent.
#[tokio::test]
async fn adm_02_a_key_leads_to_its_record_from_a_shell() {
    let desk = Desk::guarded("t0ken");
    let scope = desk.secret.scope(
        hapax::Principal::Credential { kind: "authorization", value: b"Bearer a" },
        "api.example",
    );
    let claim = hapax::Claim {
        attempt: hapax::AttemptId::from_bytes([1; 16]),
        fingerprint: hapax::Fingerprint::of(b""),
        id: desk.secret.record_id(&scope, &hapax::Key::from_text("k-1").unwrap()),
        on_lapse: hapax::OnLapse::Doubt,
        route: "/v1/payments/**".into(),
        term: crate::desk::TERM,
        transactional: None,
        unknown_retention: None,
    };
    hapax::Store::claim(&*desk.store, &claim).await.unwrap();
    let address = listen(&desk).await;
    let words = ["show", "--key", "k-1", "--principal", "Bearer a", "--host", "api.example"];
    let shown = keys(address, &words).await.unwrap();
    assert!(shown.contains(&claim.id.to_string()), "{shown}");
    let words = ["show", "--key", "k-2", "--principal", "Bearer a", "--host", "api.example"];
    assert_eq!(keys(address, &words).await.unwrap_err().exit_code(), 1);
}
