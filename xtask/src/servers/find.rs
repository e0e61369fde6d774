//! Finds a server's programs on this machine, or installs the system's package.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::context::{Context, Error, find_program, installed};
use crate::process;

/// Names the server that the tests run in place of the one that is installed: another version of Redis,
/// or Valkey. Tests that start servers of their own honour it too.
const REDIS_PROGRAM: &str = "HAPAX_TEST_REDIS_PROGRAM";

/// Where packages put the programs of PostgreSQL that are not on the search path.
const POSTGRES_HOMES: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"];

/// The folder with `initdb` and `postgres`.
pub(super) fn postgres(context: &Context, deadline: Instant) -> Result<PathBuf, Error> {
    if let Some(folder) = installed_postgres() {
        return Ok(folder);
    }
    install(context, "postgresql", deadline)?;
    installed_postgres().ok_or_else(|| Error::new("find `initdb`, though PostgreSQL is installed"))
}

/// What [`REDIS_PROGRAM`] names, or `redis-server`, or `valkey-server`.
pub(super) fn redis(context: &Context, deadline: Instant) -> Result<PathBuf, Error> {
    if let Some(program) = env::var_os(REDIS_PROGRAM).filter(|program| !program.is_empty()) {
        return Ok(program.into());
    }
    if let Some(program) = installed_redis() {
        return Ok(program);
    }
    install(context, "redis-server", deadline)?;
    installed_redis().ok_or_else(|| Error::new("find `redis-server`, though it is installed"))
}

fn installed_redis() -> Option<PathBuf> {
    find_program("redis-server").or_else(|| find_program("valkey-server"))
}

fn installed_postgres() -> Option<PathBuf> {
    let linked = ["initdb", "pg_ctl"]
        .iter()
        .filter_map(|program| fs::canonicalize(find_program(program)?).ok())
        .filter_map(|program| program.parent().map(Path::to_owned));
    let mut homes: Vec<PathBuf> = POSTGRES_HOMES
        .iter()
        .filter_map(|home| fs::read_dir(home).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path().join("bin")))
        .collect();
    // The newest version first; their names are numbers of the same length, or nearly so.
    homes.sort_by_key(|home| std::cmp::Reverse((home.as_os_str().len(), home.clone())));
    linked
        .chain(homes)
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// Installs a package where that needs no question, else says what to do.
pub(super) fn install(context: &Context, package: &str, deadline: Instant) -> Result<(), Error> {
    let mend = format!("install the package `{package}`, or set the variable that names a server");
    if !installed("apt-get") {
        return Err(Error::new(format!("find {package}: {mend}")));
    }
    println!("{package} is not on this machine; installing it from the system's packages");
    let root = is_root(context)?;
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", package]] {
        let mut command = if root {
            context.command("apt-get")
        } else {
            let mut command = context.command("sudo");
            command.args(["-n", "--preserve-env=DEBIAN_FRONTEND,RUNLEVEL", "apt-get"]);
            command
        };
        // At run level 1 the package's own service is not started: the tests start their own.
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        let done = process::capture(&context.reaper, &mut command, deadline)
            .map_err(|error| Error::new(format!("{error}; {mend}")))?;
        // A stale list may still know the package, so only the installation has to succeed.
        if !done.success && arguments.contains(&"install") {
            let tail = done.lines.join("\n");
            return Err(Error::new(format!("install {package}: {mend}\n{tail}")));
        }
    }
    Ok(())
}

pub(super) fn is_root(context: &Context) -> Result<bool, Error> {
    Ok(output_of(context.command("id").arg("-u"))? == "0")
}

/// What a command that must succeed prints, trimmed.
pub(super) fn output_of(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(Error::doing(format!("run {name}")))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("run {name}: {}", told.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
