//! A PostgreSQL of our own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::find;
use super::launch::{Server, free_port, temporary_folder};
use crate::context::{Context, Error, installed};
use crate::process;
use crate::reaper::Ask;

/// Enough for several gateways with a pool each, and for tests that run side by side.
const CONNECTIONS_MAX: u32 = 300;

/// Starts the server and returns its URL. It keeps its durability settings as they come, so that
/// what a store learns about them is what its users will see.
pub(super) fn start(context: &Context, deadline: Instant) -> Result<String, Error> {
    let programs = find::postgres(context, deadline)?;
    let folder = temporary_folder(context, "postgres")?;
    let data = folder.join("data");
    let user = if find::is_root(context)? { Some(User::unprivileged(context)?) } else { None };
    if let Some(user) = &user {
        chown(&folder, Some(user.uid), Some(user.gid))
            .map_err(Error::doing(format!("hand {} over", folder.display())))?;
    }
    let mut initdb = as_user(context, user.as_ref(), &programs.join("initdb"), &folder);
    initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    initdb.args(["--username=postgres", "-D"]).arg(&data);
    let done = process::capture(&context.reaper, &mut initdb, deadline)?;
    if !done.success {
        return Err(Error::new(format!("run initdb: {}", done.lines.join("\n"))));
    }
    let port = free_port()?;
    let mut command = as_user(context, user.as_ref(), &programs.join("postgres"), &folder);
    command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "lc_messages=C",
        "log_destination=stderr",
        "logging_collector=off",
        &format!("max_connections={CONNECTIONS_MAX}"),
    ] {
        command.args(["-c", setting]);
    }
    let mut server = Server::launch(context, &mut command, Ask::Quit)?;
    server.wait_for("database system is ready to accept connections", deadline)?;
    Ok(format!("postgres://postgres@127.0.0.1:{port}/postgres"))
}

/// The user PostgreSQL runs as when the task is run by root, whom it refuses.
struct User {
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl User {
    fn unprivileged(context: &Context) -> Result<Self, Error> {
        for name in ["postgres", "nobody"] {
            let id = |option: &str| find::output_of(context.command("id").args([option, name]));
            if let (Ok(uid), Ok(gid)) = (id("-u"), id("-g"))
                && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
            {
                return Ok(Self { name, uid, gid });
            }
        }
        Err(Error::new("find a user other than root to run PostgreSQL as"))
    }
}

/// A command that runs `program` in `folder`, as `user` when there is one.
fn as_user(context: &Context, user: Option<&User>, program: &Path, folder: &Path) -> Command {
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let mut command = match user {
        None => context.command(program),
        Some(user) if installed("setpriv") => {
            let mut command = context.command("setpriv");
            command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
            command.args(["--clear-groups", "--"]).arg(program);
            command
        }
        Some(user) => {
            // The words after `su`'s own become the arguments of the shell, unharmed.
            let mut command = context.command("su");
            command.args([user.name, "-s", "/bin/sh", "-c", "exec \"$0\" \"$@\"", "--"]);
            command.arg(program);
            command
        }
    };
    command.current_dir(folder);
    command
}
