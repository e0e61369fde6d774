//! Liveness, readiness and the numbers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hapax::store::{Fault, Operation};
use hapax_proxy::metrics::refresh;
use http::{Method, StatusCode};

use crate::desk::{Desk, TERM};

/// OBS-04: alive without the store, ready only while it takes steps.
#[tokio::test]
async fn obs_04_readiness_follows_the_store_and_the_data_port() {
    let desk = Desk::new();
    assert_eq!(desk.get("/readyz").await.status(), StatusCode::OK);
    desk.store.plan(Operation::Renew, Fault::Refused);
    assert_eq!(desk.get("/readyz").await.problem(), (503, "store-unavailable".to_owned()));
    assert_eq!(desk.get("/livez").await.status(), StatusCode::OK);
    desk.ready.store(false, Ordering::Release);
    assert_eq!(desk.get("/readyz").await.problem(), (503, "not-accepting".to_owned()));
    assert_eq!(desk.get("/livez").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn obs_04_a_store_that_hangs_is_not_ready() {
    let desk = Desk::new();
    desk.store.plan(Operation::Renew, Fault::Delay(Box::pin(std::future::pending())));
    assert_eq!(desk.get("/readyz").await.code(), "store-unavailable");
}

#[tokio::test]
async fn metrics_come_in_the_text_that_is_asked_for() {
    let desk = Desk::new();
    let said = desk.get("/metrics").await;
    assert_eq!(said.response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(said.text().contains("\n# TYPE hapax_requests_total counter\n"));
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let said = desk.ask(Method::GET, "/metrics", &accept, None).await;
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(said.response.headers()["content-type"], media);
    assert!(said.text().ends_with("# EOF\n"));
}

/// OBS-02: sizes are looked up in the background, not by a scrape.
#[tokio::test(start_paused = true)]
async fn obs_02_sizes_are_refreshed_after_each_pause() {
    let desk = Desk::new();
    desk.doubt(1).await;
    desk.clock.advance(TERM);
    let metrics = Arc::clone(&desk.metrics);
    let refreshing = tokio::spawn(refresh(metrics, desk.store.clone(), TERM, TERM));
    tokio::time::sleep(TERM / 2).await;
    let text = desk.get("/metrics").await.text();
    assert!(text.contains("\nhapax_in_doubt 1.0\n"), "{text}");
    assert!(text.contains("\nhapax_in_doubt_oldest_seconds 10.0\n"), "{text}");
    desk.claim(2).await;
    assert!(desk.get("/metrics").await.text().contains("\nhapax_records 1.0\n"));
    tokio::time::sleep(TERM).await;
    assert!(desk.get("/metrics").await.text().contains("\nhapax_records 2.0\n"));
    refreshing.abort();
}
