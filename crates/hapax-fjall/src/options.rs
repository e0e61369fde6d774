//! How a store is opened.

use std::sync::Arc;

use hapax::{Clock, SystemClock};

/// When an answer is durable enough to be given.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// Every step is synced before it is answered: it survives the end of the process and of power.
    #[default]
    Full,
    /// Claims are synced before they are answered; settlements are handed to the operating system.
    /// They survive the end of the process; a power cut may turn a settled key into *outcome
    /// unknown*, never into a second run.
    Claim,
}

/// What a [`FileStore`](crate::FileStore) is opened with.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Where time comes from. The store's own time starts at the larger of its wall time and the
    /// highest time on disk, and follows its `elapsed` from there (ruling 19).
    pub clock: Arc<dyn Clock>,
    /// When an answer is durable enough.
    pub durability: Durability,
    /// Memory for blocks read from disk, in bytes; 64 MiB by default. Not all that the store uses:
    /// what is not yet in tables takes up to 64 MiB more, or a few times that under heavy writing.
    pub read_memory_bytes: u64,
    /// At most this many records, expired ones that still take space included; then new claims get
    /// [`StoreError::Full`](hapax::StoreError::Full) (TTL-07).
    pub records_max: u64,
    /// What keys are scoped by, in any fixed wording: a store made under other rules is refused
    /// (ruling 8).
    pub scope_rules: String,
    /// What record ids are keyed with. `None`: made once at random and kept in the folder.
    pub secret: Option<Vec<u8>>,
}

impl Default for FileOptions {
    /// Fully durable, fifty million records, the system's clock, a secret of the store's own.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            durability: Durability::Full,
            read_memory_bytes: 64 * 1024 * 1024,
            records_max: 50_000_000,
            scope_rules: String::new(),
            secret: None,
        }
    }
}
