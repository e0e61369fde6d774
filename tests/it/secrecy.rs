//! SEC-01, SEC-04: keys and credentials are opaque, and are found in no log and on no disk.

use std::fs;
use std::path::Path;

use hapax_tests::{Answer, Next, Request, Settings, Upstream, respond};

const KEY: &str = "key-that-nobody-may-read-8e03978e";
const CREDENTIAL: &str = "credential-that-nobody-may-read-40d5";
const COOKIE: &str = "cookie-that-nobody-may-read-77aa";
const BODY: &str = "body-that-nobody-may-read-bcd1";

/// All files below `folder`, with what can be read in them.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
    found
}

fn secret(key: &str, body: &str) -> Request {
    Request::payment(key)
        .without("Authorization")
        .field("Authorization", &format!("Bearer {CREDENTIAL}"))
        .field("Cookie", &format!("session={COOKIE}"))
        .body(body.as_bytes())
}

#[test]
fn keys_and_credentials_are_in_no_log_and_on_no_disk() {
    for log in ["text", "json"] {
        let upstream = Upstream::start(|arrival, stream| {
            if arrival.key.ends_with("lost") {
                return Next::Close;
            }
            respond(stream, 201, &[], b"done")
        });
        let settings = Settings::new(&upstream.url()).flag("--log-format", log);
        let gateway = settings.start();
        let to = gateway.address();
        let told: Vec<Answer> = vec![
            secret(KEY, BODY).answer(to),
            secret(KEY, BODY).answer(to),
            secret(KEY, "another body").answer(to),
            secret(&format!("{KEY}-lost"), BODY).answer(to),
            secret(&format!("{KEY}-lost"), BODY).answer(to),
            secret(&format!("{KEY}\" \"twice"), BODY).answer(to),
            secret(&KEY.repeat(20), BODY).answer(to),
            secret(KEY, BODY).field("Authorization", &format!("Bearer {CREDENTIAL}")).answer(to),
            secret(KEY, BODY).field("Connection", "idempotency-key").answer(to),
        ];
        let statuses: Vec<_> = told.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [201, 201, 422, 502, 409, 400, 400, 400, 400]);
        let admin = gateway.admin().expect("the admin listener is told");
        let metrics = Request::new("GET", "/metrics").answer(admin).text();
        assert!(metrics.contains("hapax_requests_total"));
        let (output, errors) = (gateway.output(), gateway.errors());
        gateway.kill();
        let stored = files(&settings.store_folder());
        assert!(stored.iter().any(|(_, text)| text.contains("done")), "the search finds answers");
        for hidden in [KEY, CREDENTIAL, COOKIE, BODY] {
            assert!(!errors.contains(hidden), "{hidden} is logged: {errors}");
            assert!(!output.contains(hidden), "{hidden} is printed: {output}");
            assert!(!metrics.contains(hidden), "{hidden} is a metric");
            for (path, text) in &stored {
                assert!(!text.contains(hidden), "{hidden} is in {path}");
            }
            for answer in told.iter().filter(|answer| answer.status >= 400) {
                assert!(!answer.text().contains(hidden), "{hidden} is told: {}", answer.text());
            }
        }
    }
}

/// SEC-01: no key means anything to store, file system or log.
#[test]
fn keys_with_metacharacters_are_opaque() {
    let upstream =
        Upstream::start(|arrival, stream| respond(stream, 201, &[], arrival.key.as_bytes()));
    let settings = Settings::new(&upstream.url());
    let gateway = settings.start();
    let keys = [
        "' OR 1=1--",
        "*",
        "../../etc/passwd",
        "%0d%0aforged: line",
        "a/../b",
        "${HOME}",
        "{tag}",
        "k:*",
        "[a-z]?",
        "<script>alert(1)</script>",
    ];
    for round in 0..2 {
        for key in keys {
            let quoted = format!("\"{key}\"");
            let answer = Request::payment(&quoted).answer(gateway.address());
            assert_eq!((answer.status, answer.text()), (201, quoted.clone()), "{key}");
            assert_eq!(answer.replayed(), round > 0, "{key} met another's record");
            assert_eq!(upstream.arrivals(&quoted), 1, "{key}");
        }
    }
    assert!(!gateway.errors().contains("forged"), "{}", gateway.errors());
    assert!(!settings.folder().join("etc").exists());
}
