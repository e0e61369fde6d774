//! What the samples in other languages import, installed below the target folder.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::find;
use crate::context::{Context, Error, installed};
use crate::process;

/// The samples, below the root of the repository.
pub(super) const FOLDER: &str = "examples/same-transaction";

/// Installs the libraries of all samples and returns the folder that holds them: `python`, a path for
/// `PYTHONPATH`, and `node/node_modules`. What is there from an earlier run is taken as it is.
pub(super) fn install(context: &Context, deadline: Instant) -> Result<String, Error> {
    let folder = context.built("samples");
    python(context, &folder.join("python"), deadline)?;
    node(context, &folder.join("node"), deadline)?;
    Ok(folder.display().to_string())
}

fn python(context: &Context, folder: &Path, deadline: Instant) -> Result<(), Error> {
    let wanted = context.root.join(FOLDER).join("python/requirements.txt");
    if !installed("pip3") {
        find::install(context, "python3-pip", deadline)?;
    }
    let mut pip = context.command("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-cache-dir", "--upgrade", "--target"]).arg(folder).arg("-r").arg(&wanted);
    keep(context, folder, &wanted, &mut pip, deadline)
}

fn node(context: &Context, folder: &Path, deadline: Instant) -> Result<(), Error> {
    let wanted = context.root.join(FOLDER).join("node/package.json");
    if !installed("npm") {
        find::install(context, "npm", deadline)?;
    }
    fs::create_dir_all(folder).map_err(Error::doing(format!("make {}", folder.display())))?;
    fs::copy(&wanted, folder.join("package.json")).map_err(Error::doing("copy package.json"))?;
    let mut npm = context.command("npm");
    npm.args(["install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]);
    npm.arg("--prefix").arg(folder).env("npm_config_cache", folder.join("cache"));
    keep(context, folder, &wanted, &mut npm, deadline)
}

/// Runs `command`, unless it has filled `folder` for the same list of libraries before.
fn keep(
    context: &Context,
    folder: &Path,
    wanted: &Path,
    command: &mut Command,
    deadline: Instant,
) -> Result<(), Error> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let (mark, list) = (folder.join(".installed"), read(wanted));
    if read(&mark) == list {
        return Ok(());
    }
    let name = wanted.display();
    let done = process::capture(&context.reaper, command, deadline)?;
    if !done.success {
        return Err(Error::new(format!("install {name}: {}", done.lines.join("\n"))));
    }
    fs::write(&mark, list).map_err(Error::doing(format!("mark {name} as installed")))
}
