//! The demo, as a visitor runs it.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hapax_tests::{Gateway, Request, binary, eventually};

/// How long the story may take.
const TELLING_MAX: Duration = Duration::from_secs(10);

/// A machine that stands still now and then may spoil one or the other telling.
const TELLINGS_MAX: usize = 4;

/// M21: the whole story, in less than ten seconds, with the double charges told and avoided.
#[test]
fn the_demo_plays_its_story_once_and_ends_well() {
    // Building it, where that is needed, is not part of the story.
    assert!(binary().exists());
    let mut tellings = (0..TELLINGS_MAX).map(|_| {
        let start = Instant::now();
        let ended = Gateway::command(&["demo", "--once"]);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
        assert_eq!(ended.errors, "");
        (start.elapsed(), ended)
    });
    let told = tellings.find(|(took, _)| *took < TELLING_MAX);
    let (_, ended) = told.expect("the story is told in time");
    let table: Vec<_> = ended.output.lines().skip_while(|line| !line.ends_with("Hapax")).collect();
    for (story, bare, hapax) in [
        ("lost answer", "2 charges", "1 charge"),
        ("double click", "3 orders", "1 order"),
        ("crash after the answer", "2 tickets", "1 ticket"),
        ("crash before the answer", "2 tickets", "1 ticket"),
        ("reused key", "2 charges", "1 charge"),
    ] {
        let line = table.iter().find(|line| line.trim().starts_with(story));
        let line = line.unwrap_or_else(|| panic!("{story} is not told: {}", ended.output));
        let words: Vec<_> = line.trim()[story.len()..].split_whitespace().collect();
        assert_eq!(words.join(" "), format!("{bare} {hapax}"), "{story}");
    }
    assert!(ended.output.contains("Through Hapax everything took effect once."));
}

/// M21: it stays up for its visitor to try what it prints, and leaves nothing behind.
#[test]
fn the_demo_stays_up_until_it_is_told_to_stop() {
    let demo = Gateway::run(&["demo"]);
    eventually("the demo says what to try", || demo.output().contains("curl -i http://"));
    let address = |name: &str| -> SocketAddr {
        let output = demo.output();
        let line =
            output.lines().find_map(|line| line.trim().strip_prefix(name)?.split("http://").nth(1));
        let line = line.unwrap_or_else(|| panic!("no address of {name} is told: {output}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (api, gateway, admin) = (address("bare"), address("Hapax"), address("admin"));
    let before = Request::new("GET", "/payments").answer(api).text();
    let pay = Request::new("POST", "/payments").body(br#"{"customer":"me","cents":500}"#);
    let keyed = pay.clone().field("Idempotency-Key", "my-1");
    let first = keyed.answer(gateway);
    let again = keyed.answer(gateway);
    assert_eq!((first.status, first.replayed()), (201, false), "{}", first.text());
    assert_eq!((again.status, again.replayed(), &again.body), (201, true, &first.body));
    assert_eq!(pay.answer(gateway).problem().as_deref(), Some("missing-key"));
    assert_eq!(keyed.body(b"{}").answer(gateway).problem().as_deref(), Some("key-reused"));
    let after = Request::new("GET", "/payments").answer(api).text();
    let count = |text: &str| -> u64 {
        let rest = text.split_once("\"count\":").unwrap().1;
        rest.split(',').next().unwrap().parse().unwrap()
    };
    assert_eq!(count(&after), count(&before) + 1, "charged once");
    let records = Request::new("GET", "/api/records").without("Host").field("Host", "localhost");
    assert_eq!(records.answer(admin).status, 200);

    demo.terminate();
    let ended = demo.ended();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    for address in [api, gateway, admin] {
        // Somebody else may have been given the port since, for a while.
        eventually("nothing is left running", || TcpStream::connect(address).is_err());
    }
}
