//! Where the gateway's program is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names the program under test; `cargo xtask test` sets it.
const VARIABLE: &str = "HAPAX_TEST_BINARY";

/// The program `hapax`. Without the variable it is built first, so that no test meets a stale one.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => build(),
    })
}

fn build() -> PathBuf {
    // This test is TARGET/PROFILE/deps/NAME.
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2).expect("a test lies in a target folder");
    let target = profile.parent().expect("a profile lies in a target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--package", "hapax-proxy", "--bin", "hapax"]);
    command.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "the gateway cannot be built");
    profile.join("hapax")
}
