//! The text files of the repository, as the architecture checks see them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::context::Error;

/// Folders that hold sources of ours. Build output and version control are not among them.
const FOLDERS: [&str; 6] = ["bench", "crates", "examples", "fuzz", "tests", "xtask"];

/// Names of folders inside them that hold nothing of ours.
const SKIPPED: [&str; 3] = [".git", "node_modules", "target"];

/// One text file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: Vec<u8>,
}

impl Source {
    /// Line numbers (from 1) and lines; bytes that are no text are replaced.
    pub(crate) fn lines(&self) -> Vec<(usize, String)> {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        text.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect()
    }

    /// Lines that are code: neither empty nor wholly a comment.
    pub(crate) fn code_lines(&self) -> Vec<(usize, String)> {
        let comment = if self.path.ends_with(".toml") { "#" } else { "//" };
        let mut lines = self.lines();
        lines.retain(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with(comment));
        lines
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Tests may be longer than other files.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        let name = parts.pop().unwrap_or_default();
        name == "tests.rs" || name.ends_with("_tests.rs") || parts.contains(&"tests")
    }
}

/// All files below our folders whose name ends in one of `endings`, in the order of their paths.
pub(crate) fn sources(root: &Path, endings: &[&str]) -> Result<Vec<Source>, Error> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        let doing = || Error::doing(format!("read {}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(doing())? {
            let entry = entry.map_err(doing())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(doing())?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(entry.path());
            } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(read(root, &entry.path())?);
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn read(root: &Path, file: &Path) -> Result<Source, Error> {
    let text = fs::read(file).map_err(Error::doing(format!("read {}", file.display())))?;
    let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
    Ok(Source { path, text })
}
