//! From flags to a report and an exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::args::{CheckArgs, Format};
use crate::case::Case;
use crate::profile::layer_profile_toml;
use crate::report::{self, Finding, Report};
use crate::runner::{self, Plan};
use crate::setup;
use crate::target::Target;

/// Nothing could be measured; the text is one sentence that says why and what to do.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unmeasured(String);

const UNMEASURED: u8 = 2;

/// Runs `hapax check`: exit code 0 when core and profile hold, 1 when some do not, 2 when it could
/// not be measured. Needs a tokio runtime with time and I/O.
pub async fn run(args: CheckArgs) -> ExitCode {
    match carry_out(&args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("hapax check: {error}");
            ExitCode::from(UNMEASURED)
        }
    }
}

async fn carry_out(args: &CheckArgs) -> Result<u8, Unmeasured> {
    if args.layer_config {
        let upstream = args.upstream_listen.as_deref().unwrap_or("127.0.0.1:3000");
        let toml = layer_profile_toml(
            upstream,
            "127.0.0.1:8080",
            "file:./hapax-data",
            Some("127.0.0.1:9090"),
        );
        write(args, &toml)?;
        return Ok(0);
    }
    if args.list {
        let cases = args.chosen(args.mode()).map_err(Unmeasured)?;
        write(args, &report::list(&cases, args.format))?;
        return Ok(0);
    }
    let report = measure(args, |done, total, finding| {
        eprintln!("{}", report::progress(done, total, finding));
    })
    .await?;
    write(args, &report.render(args.format))?;
    if args.out.is_some() || args.format != Format::Text {
        let last = report.render(Format::Text);
        eprintln!("{}", last.lines().last().unwrap_or_default());
    }
    Ok(report.exit_code())
}

/// Measures the target of these flags. `progress` is called after each case with the number of
/// cases done, their total and the last finding.
pub async fn measure(
    args: &CheckArgs,
    progress: impl Fn(usize, usize, &Finding) + Send + Sync,
) -> Result<Report, Unmeasured> {
    let Some(mode) = args.mode() else {
        return Err(Unmeasured(
            "nothing to measure: give --url URL for an API, or --layer URL or --command COMMAND \
             for a layer"
                .to_owned(),
        ));
    };
    let cases = args.chosen(Some(mode)).map_err(Unmeasured)?;
    let target = Arc::new(setup::target(args).await.map_err(Unmeasured)?);
    announce(args, &target, &cases)?;
    let (default, jobs) = if mode == "api" { (110, 1) } else { (900, args.jobs) };
    let limit = Duration::from_secs(args.limit.unwrap_or(default));
    let plan = Plan { jobs, limit, progress: &progress };
    let (findings, out_of_time) = runner::run(&target, &cases, &plan).await;
    let (name, requests_sent) = match &*target {
        Target::Api(api) => {
            let sent = api.sent.load(Ordering::Relaxed);
            (format!("API at {}{}", api.endpoint.authority(), api.endpoint.path), Some(sent))
        }
        Target::Layer(layer) => {
            let at: Vec<String> =
                layer.instances.iter().map(|instance| instance.endpoint.authority()).collect();
            (format!("layer at {}", at.join(" and ")), None)
        }
    };
    Ok(Report { target: name, findings, requests_sent, out_of_time })
}

/// Says how much will be sent, and asks before sending it beyond this machine.
fn announce(args: &CheckArgs, target: &Target, cases: &[Case]) -> Result<(), Unmeasured> {
    let (endpoint, what) = match target {
        Target::Api(api) => {
            let requests: u32 = cases.iter().map(|case| case.requests_max).sum();
            let effects = if api.effects.is_some() { ", and reads the effects URL" } else { "" };
            (&api.endpoint, format!("at most {requests} requests{effects}"))
        }
        Target::Layer(layer) => (&layer.instances[0].endpoint, "some thousand requests".to_owned()),
    };
    eprintln!("{} cases; sends {what} to {}", cases.len(), endpoint.authority());
    if endpoint.is_loopback() || args.yes {
        return Ok(());
    }
    let refused = || {
        Unmeasured(format!(
            "{} is not this machine: run again with --yes to send there",
            endpoint.authority()
        ))
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused());
    }
    eprint!("{} is not this machine. Send? [y/N] ", endpoint.authority());
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    if line.trim().eq_ignore_ascii_case("y") { Ok(()) } else { Err(refused()) }
}

fn write(args: &CheckArgs, text: &str) -> Result<(), Unmeasured> {
    let Some(path) = &args.out else {
        // A reader that went away early has seen what it wanted.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(());
    };
    std::fs::write(path, text)
        .map_err(|error| Unmeasured(format!("--out {} failed: {error}", path.display())))
}
