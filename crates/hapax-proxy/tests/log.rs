//! What the log looks like to those who read it from a file.

use std::process::Command;

/// Says one thing at the start, as it may open few files, and ends, as nobody is at the store's address.
const SCRIPT: &str = "ulimit -n 1000 && exec \"$0\" serve --upstream http://127.0.0.1:1 \
     --listen 127.0.0.1:0 --admin 127.0.0.1:0 --store redis://127.0.0.1:1";

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let binary = env!("CARGO_BIN_EXE_hapax");
    let output = Command::new("sh").args(["-c", SCRIPT, binary]).env_clear().output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("limit of open files"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    assert_eq!(output.status.code(), Some(69), "{log}");
}
