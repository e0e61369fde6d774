//! What is compared.

/// One way a request can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    /// No proxy at all.
    Direct,
    /// nginx with a pool of upstream connections, where it is installed.
    Nginx,
    /// A plain hyper proxy, `textbook.rs`.
    Textbook,
    /// The gateway, on a route with `key = "off"`.
    PassThrough,
    /// New keys, store `memory:`.
    FirstMemory,
    /// New keys, store `file:`.
    FirstFile,
    /// Known keys, store `memory:`.
    ReplayMemory,
    /// Known keys, store `file:`.
    ReplayFile,
}

impl Candidate {
    pub(crate) const ALL: [Self; 8] = [
        Self::Direct,
        Self::Nginx,
        Self::Textbook,
        Self::PassThrough,
        Self::FirstMemory,
        Self::FirstFile,
        Self::ReplayMemory,
        Self::ReplayFile,
    ];

    /// Those whose figures depend on the number of keys, and what they are compared with.
    pub(crate) const KEYED: [Self; 5] = [
        Self::PassThrough,
        Self::FirstMemory,
        Self::FirstFile,
        Self::ReplayMemory,
        Self::ReplayFile,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "upstream, direct",
            Self::FirstFile => "hapax, first run, file",
            Self::FirstMemory => "hapax, first run, memory",
            Self::Nginx => "nginx, plain",
            Self::PassThrough => "hapax, pass-through",
            Self::ReplayFile => "hapax, replay, file",
            Self::ReplayMemory => "hapax, replay, memory",
            Self::Textbook => "textbook hyper proxy, plain",
        }
    }

    pub(crate) fn is_gateway(self) -> bool {
        match self {
            Self::Direct | Self::Nginx | Self::Textbook => false,
            Self::FirstFile
            | Self::FirstMemory
            | Self::PassThrough
            | Self::ReplayFile
            | Self::ReplayMemory => true,
        }
    }

    pub(crate) fn is_replay(self) -> bool {
        matches!(self, Self::ReplayFile | Self::ReplayMemory)
    }

    /// The route the requests take.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Direct | Self::Nginx | Self::PassThrough | Self::Textbook => "/plain/orders",
            Self::FirstFile | Self::FirstMemory | Self::ReplayFile | Self::ReplayMemory => {
                "/keyed/orders"
            }
        }
    }
}
