//! Test servers: PostgreSQL, Redis and a Redis cluster of our own, on free ports, in temporary
//! folders, gone when the task ends (the reaper ends them); and what samples in other languages
//! import. A variable that is already set is honoured, and then nothing is started in its place.

mod cluster;
mod find;
mod launch;
mod postgres;
mod redis;
mod samples;

use std::env;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::context::{Context, Error};
use crate::process;

const POSTGRES: &str = "HAPAX_TEST_POSTGRES_URL";
const REDIS: &str = "HAPAX_TEST_REDIS_URL";
const REDIS_CLUSTER: &str = "HAPAX_TEST_REDIS_CLUSTER";
const SAMPLES: &str = "HAPAX_TEST_SAMPLES";

/// How long installing and starting all servers may take.
const START_LIMIT: Duration = Duration::from_secs(10 * 60);

/// How long a command given to `servers` may run.
const COMMAND_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// Which servers a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    postgres: bool,
    redis: bool,
    samples: bool,
}

impl Needs {
    const ALL: Self = Self { postgres: true, redis: true, samples: true };

    /// What the crates of this workspace are tested against.
    pub(crate) fn of_workspace(root: &Path) -> Self {
        let has = |name: &str| root.join("crates").join(name).is_dir();
        Self {
            postgres: has("hapax-postgres"),
            redis: has("hapax-redis"),
            samples: root.join(samples::FOLDER).is_dir(),
        }
    }
}

/// Servers that answer, and the variables under which tests find them.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) variables: Vec<(String, String)>,
}

/// Starts what is needed and not already named by a variable.
pub(crate) fn start(context: &Context, needs: Needs, deadline: Instant) -> Result<Servers, Error> {
    let deadline = deadline.min(Instant::now() + START_LIMIT);
    let mut variables = Vec::new();
    if needs.postgres {
        variables.push(given_or(POSTGRES, || postgres::start(context, deadline))?);
    }
    if needs.redis {
        variables.push(given_or(REDIS, || redis::start(context, deadline))?);
        variables.push(given_or(REDIS_CLUSTER, || cluster::start(context, deadline))?);
    }
    if needs.samples {
        variables.push(given_or(SAMPLES, || samples::install(context, deadline))?);
    }
    Ok(Servers { variables })
}

/// The variable as it is set, or with the URL of a server that is started now.
fn given_or(
    name: &str,
    start: impl FnOnce() -> Result<String, Error>,
) -> Result<(String, String), Error> {
    let url = match env::var(name) {
        Ok(url) if !url.is_empty() => url,
        Ok(_) | Err(_) => start()?,
    };
    Ok((name.to_owned(), url))
}

/// `cargo xtask servers`.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<bool, Error> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--hold"] => {
            let servers = start(context, Needs::ALL, Instant::now() + START_LIMIT)?;
            for (name, url) in &servers.variables {
                println!("export {name}={url}");
            }
            println!("# Ctrl-C ends them");
            // Nothing is ever sent: this waits until the process is interrupted, and the reaper
            // does the rest.
            let (_kept, never) = mpsc::channel::<()>();
            Ok(never.recv().is_ok())
        }
        ["--", program, rest @ ..] => {
            let servers = start(context, Needs::ALL, Instant::now() + START_LIMIT)?;
            let mut command = context.command(program);
            command.args(rest).envs(servers.variables);
            let deadline = Instant::now() + COMMAND_LIMIT;
            Ok(process::run(&context.reaper, context.reaper.mark(&mut command), deadline)?.success)
        }
        _ => Err(Error::new("understand the arguments: give `--hold`, or `--` and a command")),
    }
}
