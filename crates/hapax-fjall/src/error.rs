//! Why a store does not open, and what its library's errors mean for an operation.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hapax::StoreError;

/// Why a folder could not be opened as a store. Nothing in it was changed, unless it is `Unusable`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// What is there is not what was written.
    #[error(
        "open `file:{}`: it is damaged ({reason}); restore the whole folder from a backup, or move \
         it away to start empty, which forgets every key",
        path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds something else.
    #[error(
        "open `file:{}`: it holds other files and no Hapax store; name an empty folder or one that \
         does not exist yet",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// No room.
    #[error("open `file:{}`: the disk is full; make room and start again", path.display())]
    Full {
        /// The folder.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error(
        "open `file:{}`: it is in use; stop the other process, or give each its own folder",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A newer release made it.
    #[error(
        "open `file:{}`: its format is version {version} and this release knows {known}; run the \
         newer release",
        path.display()
    )]
    Newer {
        /// The newest version this release knows.
        known: u32,
        /// The folder.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The user may not use it.
    #[error(
        "open `file:{}`: permission denied; let this user read and write the folder and what is in \
         it",
        path.display()
    )]
    Permission {
        /// The folder.
        path: PathBuf,
    },
    /// It was made with another secret or under other scope rules.
    #[error(
        "open `file:{}`: it was made with another `secret` or other scope rules (`principal`, \
         `authority`), so its records would not be found; set them back, or name a new folder",
        path.display()
    )]
    Refused {
        /// The folder.
        path: PathBuf,
    },
    /// The system said no otherwise.
    #[error("open `file:{}`: {source}; see that the path is a folder on a local disk", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { path }
            }
            kind if is_full(kind) => Self::Full { path },
            _ => Self::Unusable { path, source: Box::new(source) },
        }
    }

    pub(crate) fn damaged(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn library(path: &Path, error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::InUse { path: path.to_owned() },
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                match error.kind() {
                    // Files that the store itself wrote are missing or shorter than they were.
                    io::ErrorKind::NotFound
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::InvalidData => Self::damaged(path, error),
                    _ => Self::io(path, error),
                }
            }
            other => Self::damaged(path, other),
        }
    }
}

/// Why the store takes no more steps: its first failure to write, told to everyone after.
#[derive(Clone, Debug)]
pub(crate) struct WriteFailed(Arc<fjall::Error>);

impl WriteFailed {
    pub(crate) fn new(error: fjall::Error) -> Self {
        Self(Arc::new(error))
    }

    /// Whether nothing at all was written: the library had stopped before.
    pub(crate) fn wrote_nothing(&self) -> bool {
        matches!(*self.0, fjall::Error::Poisoned)
    }

    /// For a step that was in the failed write.
    pub(crate) fn unknown(&self) -> StoreError {
        StoreError::unknown(self.clone())
    }

    /// For a step that came too late.
    pub(crate) fn none(&self) -> StoreError {
        StoreError::none(self.clone())
    }
}

impl fmt::Display for WriteFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match io_kind(&self.0) {
            Some(kind) if is_full(kind) => f.write_str(
                "the disk is full; make room and restart: nothing is written until then",
            ),
            Some(_) | None => write!(
                f,
                "a write to disk failed ({}); check the disk and restart: nothing is written until \
                 then",
                self.0
            ),
        }
    }
}

impl StdError for WriteFailed {}

/// What a failed read means for the operation that needed it.
pub(crate) fn read_failed(error: fjall::Error) -> StoreError {
    match io_kind(&error) {
        Some(_) => StoreError::none(error),
        None => StoreError::Damaged(error.to_string()),
    }
}

fn io_kind(error: &fjall::Error) -> Option<io::ErrorKind> {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            Some(error.kind())
        }
        _ => None,
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull
    )
}
