//! `hapax-bench`: what the gateway costs beside a plain proxy, and how it holds up with many keys.

mod backend;
mod block;
mod candidate;
mod child;
mod expiry;
mod fleet;
mod goals;
mod histogram;
mod load;
mod machine;
mod measure;
mod options;
mod report;
mod request;
mod stores;
mod textbook;
mod upstream;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use block::Block;
use options::{Options, Part, Role};
use report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.role {
        Some(Role::Textbook { upstream }) => textbook::serve(upstream),
        Some(Role::Upstream) => upstream::serve(),
        None => measure_all(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to measure: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every block in turn, then the report. The folder with the stores is removed at the end.
fn measure_all(options: &Options) -> io::Result<()> {
    let gateway = options.gateway()?;
    let folder = options.folder()?.join(format!("hapax-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = measure_in(options, gateway.as_deref(), &folder);
    fs::remove_dir_all(&folder)?;
    let report = outcome?;
    println!("{}", report.markdown());
    if let Some(file) = &options.json {
        fs::write(file, report.json())?;
    }
    if report.errors() == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("{} requests had no proper answer", report.errors())))
    }
}

fn measure_in(options: &Options, gateway: Option<&Path>, folder: &Path) -> io::Result<Report> {
    let mut report = Report::new(gateway, folder)?;
    if options.wants(Part::Proxy) {
        measure_proxy(options, gateway, folder, &mut report)?;
    }
    if let (true, Some(gateway)) = (options.wants(Part::Stores), gateway) {
        report.stores = Some(stores::run(options, gateway, folder)?);
    }
    Ok(report)
}

fn measure_proxy(
    options: &Options,
    gateway: Option<&Path>,
    folder: &Path,
    report: &mut Report,
) -> io::Result<()> {
    for connections in options.connections() {
        let block = Block::common(connections, options.live_keys());
        report.blocks.push(block.run(options, gateway, folder)?);
    }
    if gateway.is_some() {
        for live_keys in options.many_keys() {
            report.blocks.push(Block::many_keys(live_keys).run(options, gateway, folder)?);
        }
    }
    if let (Some(gateway), Some(keys)) = (gateway, options.expiring_keys()) {
        report.expiry = Some(expiry::run(gateway, folder, keys)?);
    }
    Ok(())
}
