//! What every task needs: the root of the repository, the reaper, and commands that run there.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::reaper::Reaper;

/// What a task fails with; its text reads after "failed to ...".
#[derive(Debug)]
pub(crate) struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Names what was being done when the system refused.
    pub(crate) fn doing(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The surroundings of one task.
#[derive(Debug)]
pub(crate) struct Context {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Ends what is still running when the task ends, however it ends.
    pub(crate) reaper: Reaper,
}

impl Context {
    pub(crate) fn new() -> Result<Self, Error> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root =
            manifest.parent().ok_or_else(|| Error::new("find the root of the repository"))?;
        let reaper = Reaper::start().map_err(Error::doing("start the reaper"))?;
        Ok(Self { root: root.to_owned(), reaper })
    }

    /// A command that runs in the root of the repository.
    ///
    /// `cargo run` describes this program in its environment; passed on, that description makes
    /// build scripts which watch it run again, so it is taken out.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let told = name.to_string_lossy();
            if ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_"]
                .iter()
                .any(|prefix| told.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The cargo that runs this task.
    pub(crate) fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// The folder that holds what cargo built in profile `name` (`debug`, `release`).
    pub(crate) fn built(&self, name: &str) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |folder| self.root.join(folder))
            .join(name)
    }
}

/// Whether a program of this name can be found on the search path.
pub(crate) fn installed(program: &str) -> bool {
    find_program(program).is_some()
}

/// Where on the search path a program of this name is.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
