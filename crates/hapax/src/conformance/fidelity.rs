//! What is put in comes out, byte by byte: answers, names, rules, history. Every record is compared
//! with the machine's, after the settlement and, where the store can, after the end of the process.

use std::time::Duration;

use bytes::Bytes;

use super::harness::Harness;
use super::mirror::Mirror;
use super::scene::{
    RETENTION, Scene, Stop, TERM, attempt, claim, complete, doubt, ensure, failed, id, id_of,
    release, same,
};
use super::{Case, Ending};
use crate::fingerprint::Fingerprint;
use crate::lease::AttemptId;
use crate::machine::{Claim, Retention, Settlement};
use crate::record::{Cause, HISTORY_ENTRIES_MAX, OnLapse, Phase, Settler};
use crate::response::{Field, Kept, RecordedResponse};
use crate::scope::RecordId;

pub(super) const CASES: [Case; 13] = [
    Case::free("answer_of_every_byte_comes_back", |h| Ending::of(every_byte(h))),
    Case::free("answer_with_repeated_headers_comes_back", |h| Ending::of(repeated_headers(h))),
    Case::free("answer_with_trailers_comes_back", |h| Ending::of(trailers(h))),
    Case::free("answer_without_anything_comes_back", |h| Ending::of(empty(h))),
    Case::free("answer_of_a_mebibyte_comes_back", |h| Ending::of(large(h))),
    Case::free("answer_with_many_headers_comes_back", |h| Ending::of(many_headers(h))),
    Case::free("answer_not_retained_comes_back", |h| Ending::of(not_retained(h))),
    Case::free("hostile_routes_come_back", |h| Ending::of(hostile_routes(h))),
    Case::free("extreme_names_come_back", |h| Ending::of(extreme_names(h))),
    Case::free("every_rule_comes_back", |h| Ending::of(every_rule(h))),
    Case::free("every_cause_comes_back", |h| Ending::of(every_cause(h))),
    Case::free("progress_comes_back", |h| Ending::of(progress(h))),
    Case::free("history_comes_back", |h| Ending::of(history(h))),
];

/// Keeps the answers, one record each, and looks whether they come back.
async fn come_back(
    harness: &dyn Harness,
    answers: impl IntoIterator<Item = Kept> + Send,
) -> Result<(), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let mut expected = Vec::new();
    for (n, kept) in (0_u8..).zip(answers) {
        let lease = mirror.grant(&Claim { id: id_of(n), ..claim(n) }).await?;
        let retention = Retention::For(RETENTION);
        let with = Settlement::Complete { kept: kept.clone(), retention };
        mirror.settled(&lease, &with).await?;
        expected.push((id_of(n), kept));
    }
    let mirror = still(mirror).await?;
    for (id, kept) in expected {
        match mirror.scene.live(id).await?.map(|record| record.phase) {
            Some(Phase::Completed { kept: found, .. }) => {
                ensure(found == kept, format_args!("an answer of {:?} changed", kept.status()))?;
            }
            other => return failed(format_args!("it holds {other:?}")),
        }
    }
    Ok(())
}

/// After the end of the process too, where the store has one.
async fn still(mirror: Mirror) -> Result<Mirror, Stop> {
    mirror.check_all().await?;
    if mirror.scene.store().guarantees().durable { mirror.reopen().await } else { Ok(mirror) }
}

fn response(headers: Vec<Field>, body: impl Into<Bytes>) -> Kept {
    let (body, trailers) = (body.into(), Vec::new());
    Kept::Response(RecordedResponse { body, headers, status: 201, trailers })
}

fn every_byte_of(times: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(256 * times).collect()
}

async fn every_byte(harness: &dyn Harness) -> Result<(), Stop> {
    let value = (1..=u8::MAX).filter(|byte| !matches!(byte, b'\r' | b'\n')).collect::<Vec<u8>>();
    let text = "{\"text\":\"\\u0000 ' $1 %s \u{1f600}\"}\r\n--boundary--\0";
    come_back(
        harness,
        [
            response(vec![Field::new("x-bytes", value)], every_byte_of(2)),
            response(Vec::new(), text),
            response(Vec::new(), "\0"),
            response(Vec::new(), [0xff, 0xfe, 0x00, 0xc3, 0x28].as_slice()),
        ],
    )
    .await
}

/// REP-07: lines keep their order and count, and no value is split, joined or trimmed.
async fn repeated_headers(harness: &dyn Harness) -> Result<(), Stop> {
    let headers = vec![
        Field::new("link", "<a>; rel=\"next, last\", <b>"),
        Field::new("set-cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        Field::new("link", "<c>"),
        Field::new("set-cookie", "b=\"2, 3\""),
        Field::new("link", ""),
        Field::new("link", "<c>"),
        Field::new("date", " spaced "),
        Field::new("a", "out of order"),
    ];
    come_back(harness, [response(headers, "body")]).await
}

/// REP-11: trailers stay apart from headers.
async fn trailers(harness: &dyn Harness) -> Result<(), Stop> {
    let trailers = vec![Field::new("digest", "sha-256=x"), Field::new("digest", "sha-256=y")];
    let headers = vec![Field::new("digest", "in the head")];
    let kept = RecordedResponse { body: Bytes::new(), headers, status: 200, trailers };
    come_back(harness, [Kept::Response(kept)]).await
}

async fn empty(harness: &dyn Harness) -> Result<(), Stop> {
    let of = |status| Kept::Response(RecordedResponse { status, ..RecordedResponse::default() });
    come_back(harness, [100, 200, 204, 304, 404, 599, 999].map(of)).await
}

/// The default limit of an answer, one byte less, and some more (REP-12).
async fn large(harness: &dyn Harness) -> Result<(), Stop> {
    const MEBIBYTE: usize = 1 << 20;
    let sizes = [1 << 16, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 2 * MEBIBYTE + 123];
    let of = |size: usize| {
        let mut body = every_byte_of(size / 256 + 1);
        body.truncate(size);
        response(vec![Field::new("content-length", size.to_string())], body)
    };
    come_back(harness, sizes.map(of)).await
}

async fn many_headers(harness: &dyn Harness) -> Result<(), Stop> {
    let line = |n: usize| Field::new(format!("x-line-{}", n % 50), "v".repeat(n % 300));
    let long = Field::new("n".repeat(300), "v".repeat(16_384));
    come_back(harness, [response((0..500).map(line).chain([long]).collect(), "body")]).await
}

async fn not_retained(harness: &dyn Harness) -> Result<(), Stop> {
    let locations = [None, Some(Bytes::new()), Some(Bytes::from_static(b"/orders/1?a=\xc3\xa4"))];
    come_back(harness, locations.map(|location| Kept::NotRetained { location, status: 201 })).await
}

/// Routes come from configuration, and configuration from anywhere.
async fn hostile_routes(harness: &dyn Harness) -> Result<(), Stop> {
    let long = "/long".repeat(1_000);
    let routes = [
        "",
        "/**",
        "'; DROP TABLE records; --",
        "\" \\ ' ` $1 {0} %s :name",
        "line\r\nbreak\ttab\0nul",
        "{hash}tag",
        "\u{fc}ml\u{e4}ut \u{1f600} \u{202e}",
        &long,
    ];
    let mut mirror = Mirror::new(Scene::new(harness).await);
    for (n, route) in (0_u8..).zip(routes) {
        let wish = Claim { id: id_of(n), route: route.into(), ..claim(n) };
        let lease = mirror.grant(&wish).await?;
        if n % 2 == 0 {
            mirror.settled(&lease, &complete(1)).await?;
        }
    }
    mirror.list(None).await?;
    still(mirror).await.map(|_| ())
}

async fn extreme_names(harness: &dyn Harness) -> Result<(), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let mut ascending = [0; 32];
    ascending.iter_mut().zip(b'\0'..).for_each(|(byte, n)| *byte = n);
    for bytes in [[0; 32], [0xff; 32], ascending] {
        for version in [0, 1, u8::MAX] {
            let mut id = bytes;
            id[16] = version;
            let wish = Claim {
                attempt: AttemptId::from_bytes([bytes[0]; 16]),
                fingerprint: Fingerprint::from_parts(version, bytes),
                id: RecordId::from_bytes(id),
                ..claim(1)
            };
            let lease = mirror.grant(&wish).await?;
            // Another version of the same digest is another fingerprint (FPR-09).
            let newer = Fingerprint::from_parts(version.wrapping_add(1), bytes);
            mirror.settled(&lease, &release()).await?;
            mirror.scene.hold(&Claim { fingerprint: newer, ..wish }).await?;
        }
    }
    mirror.list(None).await?;
    still(mirror).await.map(|_| ())
}

async fn every_rule(harness: &dyn Harness) -> Result<(), Stop> {
    const YEARS: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let rules = [
        (OnLapse::Doubt, None),
        (OnLapse::Doubt, Some(YEARS)),
        (OnLapse::Reclaim { after: Duration::ZERO, attempts_max: 0 }, Some(Duration::ZERO)),
        (
            OnLapse::Reclaim { after: Duration::from_micros(1), attempts_max: u32::MAX },
            Some(Duration::from_micros(1)),
        ),
        (OnLapse::Reclaim { after: YEARS, attempts_max: 1 }, None),
    ];
    let ends = [complete(1), doubt(), release()];
    for (n, (on_lapse, unknown_retention)) in (0_u8..).zip(rules) {
        for (m, end) in (0_u8..).zip(&ends) {
            let at = id_of(10 * n + m);
            let wish = Claim { id: at, on_lapse, unknown_retention, ..claim(n) };
            let lease = mirror.grant(&wish).await?;
            mirror.settled(&lease, end).await?;
        }
        mirror
            .grant(&Claim { id: id_of(10 * n + 9), on_lapse, unknown_retention, ..claim(n) })
            .await?;
    }
    for (n, retention) in (100_u8..).zip([Retention::Never, Retention::For(YEARS)]) {
        for (m, status) in (0_u8..).zip([None, Some(503)]) {
            let kept = Kept::NotRetained { location: None, status: 200 };
            let complete = Settlement::Complete { kept, retention };
            for (k, with) in [(0, complete), (1, Settlement::Release { retention, status })] {
                let wish = Claim { id: id_of(n + 10 * m + 20 * k), ..claim(n) };
                let lease = mirror.grant(&wish).await?;
                mirror.settled(&lease, &with).await?;
            }
        }
    }
    still(mirror).await.map(|_| ())
}

async fn every_cause(harness: &dyn Harness) -> Result<(), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    for (n, cause) in (0_u8..).zip(Cause::ALL) {
        let lease = mirror.grant(&Claim { id: id_of(n), ..claim(n) }).await?;
        mirror.settled(&lease, &Settlement::Doubt { cause }).await?;
    }
    still(mirror).await.map(|_| ())
}

/// Finished steps pass from attempt to attempt until one completes; none is not the same as empty.
async fn progress(harness: &dyn Harness) -> Result<(), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let eager = OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX };
    let mut expected: Option<Bytes> = None;
    let steps = [None, Some(Bytes::new()), None, Some(Bytes::from(every_byte_of(40))), None];
    for (n, step) in (1_u8..).zip(steps) {
        let wish = Claim { attempt: attempt(n), on_lapse: eager, ..claim(1) };
        let lease = mirror.grant(&wish).await?;
        same("the steps handed over", &lease.progress, &expected)?;
        expected = step.clone().or(expected);
        let renewed = mirror.renew(&lease, step).await?.map(|lease| lease.progress);
        same("the steps kept", &renewed, &Ok(expected.clone()))?;
        if n % 2 == 0 {
            mirror.settled(&lease, &doubt()).await?;
        } else {
            mirror.advance(2 * TERM).await;
        }
    }
    still(mirror).await.map(|_| ())
}

/// More than a history holds: by owners, by operators, with and without a status.
async fn history(harness: &dyn Harness) -> Result<(), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let ends =
        [Settlement::Release { retention: Retention::For(RETENTION), status: None }, release()];
    for n in 0_u8..10 {
        let lease = mirror.grant(&Claim { attempt: attempt(n), ..claim(1) }).await?;
        mirror.advance(Duration::from_micros(u64::from(n) + 1)).await;
        mirror.settled(&lease, &doubt()).await?;
        let by = if n % 3 == 0 { Settler::Operator } else { Settler::Owner };
        let end = &ends[usize::from(n) % ends.len()];
        let settled = mirror.settle(&lease, end, by).await?;
        same("the settlement", &settled, &Ok(()))?;
    }
    let entries = mirror.record(id()).map_or(0, |record| record.history.entries().len());
    same("the number of entries", &entries, &HISTORY_ENTRIES_MAX)?;
    still(mirror).await.map(|_| ())
}
