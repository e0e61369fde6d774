//! The folder: whose it is, who uses it, and the one file of our own in it.
//!
//! ```text
//! PATH/hapax-store   what this folder is: format version, digest, perhaps the secret
//! PATH/hapax-lock    held by the process that has it open
//! PATH/data/         the library's files
//! ```

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::schema::FORMAT_VERSION;

const LABEL: &str = "hapax-store";
const LABEL_NEW: &str = "hapax-store.new";
const LOCK: &str = "hapax-lock";
const DATA: &str = "data";
const FIRST_LINE: &str = "This folder is a Hapax store. Do not change anything in it.";

/// The file that says what the folder is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Label {
    /// The digest of secret and scope rules (ruling 8).
    pub(crate) digest: [u8; 32],
    /// Whether everything has been made; until then nothing can have been kept.
    pub(crate) is_ready: bool,
    /// The secret, if it was made here.
    pub(crate) secret: Option<[u8; 32]>,
}

/// A folder that this process alone uses, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    _lock: File,
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if need be and takes it. Writes nothing into a folder of someone else's.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::io(path, error);
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(OpenError::Foreign { path: path.to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        if !is_ours(path).map_err(failed)? {
            return Err(OpenError::Foreign { path: path.to_owned() });
        }
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock, path: path.to_owned() }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where the library keeps its files.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// What the folder says of itself; `None` in a new one.
    pub(crate) fn label(&self) -> Result<Option<Label>, OpenError> {
        match fs::read_to_string(self.path.join(LABEL)) {
            Ok(text) => self.parse(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.data().exists() {
                    let reason = format!("its file {LABEL} is missing");
                    return Err(OpenError::damaged(&self.path, reason));
                }
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(OpenError::damaged(&self.path, format!("its file {LABEL} is not text")))
            }
            Err(error) => Err(OpenError::io(&self.path, error)),
        }
    }

    /// Says what the folder is, all or nothing.
    pub(crate) fn set_label(&self, label: &Label) -> Result<(), OpenError> {
        let write = || -> io::Result<()> {
            let new = self.path.join(LABEL_NEW);
            let mut file = private().create(true).truncate(true).write(true).open(&new)?;
            file.write_all(label.to_text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, self.path.join(LABEL))?;
            sync_folder(&self.path)
        };
        write().map_err(|error| OpenError::io(&self.path, error))
    }

    fn parse(&self, text: &str) -> Result<Label, OpenError> {
        let damaged = |what: &str| {
            OpenError::damaged(&self.path, format!("its file {LABEL} has no legal {what}"))
        };
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let version = field("version").and_then(|version| version.parse::<u32>().ok());
        let version = version.ok_or_else(|| damaged("version"))?;
        if version > FORMAT_VERSION {
            let path = self.path.clone();
            return Err(OpenError::Newer { known: FORMAT_VERSION, path, version });
        }
        let digest = field("digest").and_then(unhex).ok_or_else(|| damaged("digest"))?;
        let is_ready = match field("state") {
            Some("new") => false,
            Some("ready") => true,
            Some(_) | None => return Err(damaged("state")),
        };
        let secret = match field("secret") {
            Some(text) => Some(unhex(text).ok_or_else(|| damaged("secret"))?),
            None => None,
        };
        Ok(Label { digest, is_ready, secret })
    }
}

impl Label {
    fn to_text(&self) -> String {
        let state = if self.is_ready { "ready" } else { "new" };
        let mut text = format!("{FIRST_LINE}\nversion {FORMAT_VERSION}\nstate {state}\n");
        text.push_str(&format!("digest {}\n", hex(&self.digest)));
        if let Some(secret) = &self.secret {
            text.push_str(&format!("secret {}\n", hex(secret)));
        }
        text
    }
}

/// Makes what was done to the names in a folder survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Whether a folder is a store, or empty but for what an interrupted first start leaves.
fn is_ours(path: &Path) -> io::Result<bool> {
    if path.join(LABEL).try_exists()? {
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        // A store whose label was lost has its lock still, and is told to be damaged later.
        if ![LABEL_NEW, LOCK].map(OsStr::new).contains(&name.as_os_str()) {
            return Ok(name == DATA && path.join(LOCK).try_exists()?);
        }
    }
    Ok(true)
}

/// Makes a folder that only this user may enter: answers are kept in it as they are.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => sync_folder(Path::new(".")),
    }
}

fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_back_and_its_version_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(dir.path()).unwrap();
        assert_eq!(folder.label().unwrap(), None);
        let label = Label { digest: [0xab; 32], is_ready: true, secret: Some([1; 32]) };
        folder.set_label(&label).unwrap();
        assert_eq!(folder.label().unwrap(), Some(label.clone()));
        let newer = label.to_text().replace("version 1", "version 2");
        assert!(matches!(folder.parse(&newer), Err(OpenError::Newer { version: 2, .. })));
        assert!(matches!(folder.parse("version x"), Err(OpenError::Damaged { .. })));
        let short = label.to_text().replace("ab\n", "\n");
        assert!(matches!(folder.parse(&short), Err(OpenError::Damaged { .. })));
    }

    #[test]
    fn a_folder_of_someone_else_is_not_written_into() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(Folder::take(dir.path()), Err(OpenError::Foreign { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let file = dir.path().join("letter.txt");
        assert!(matches!(Folder::take(&file), Err(OpenError::Foreign { .. })));
    }
}
