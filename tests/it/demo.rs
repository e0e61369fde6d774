//! The demo, as a visitor runs it.

use std::time::{Duration, Instant};

use hapax_tests::Gateway;

/// M21: the whole story, in less than ten seconds, with the double charges told and avoided.
#[test]
fn the_demo_plays_its_story_once_and_ends_well() {
    let start = Instant::now();
    let ended = Gateway::command(&["demo", "--once"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.output, ended.errors);
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    assert_eq!(ended.errors, "");
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
