//! What is compared.

/// Where a gateway keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreKind {
    Memory,
    File,
    Postgres,
    /// Redis that syncs before it answers.
    RedisAlways,
    /// Redis that syncs once a second.
    RedisEverysec,
    /// Three Redis nodes, each of which syncs before it answers.
    RedisCluster,
}

impl StoreKind {
    /// Those that several gateways can share.
    pub(crate) const SHARED: [Self; 4] =
        [Self::Postgres, Self::RedisAlways, Self::RedisEverysec, Self::RedisCluster];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Memory => "memory",
            Self::Postgres => "PostgreSQL",
            Self::RedisAlways => "Redis (always)",
            Self::RedisCluster => "Redis cluster (3, always)",
            Self::RedisEverysec => "Redis (everysec)",
        }
    }
}

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
    /// New keys.
    First(StoreKind),
    /// Known keys.
    Replay(StoreKind),
    /// No gateway: a bare client of the store that sends what a first run sends it.
    Raw(StoreKind),
}

impl Candidate {
    /// The gateway on its own beside proxies that are none of ours.
    pub(crate) const PROXY: [Self; 8] = [
        Self::Direct,
        Self::Nginx,
        Self::Textbook,
        Self::PassThrough,
        Self::First(StoreKind::Memory),
        Self::First(StoreKind::File),
        Self::Replay(StoreKind::Memory),
        Self::Replay(StoreKind::File),
    ];

    /// Those whose figures depend on the number of keys, and what they are compared with.
    pub(crate) const KEYED: [Self; 5] = [
        Self::PassThrough,
        Self::First(StoreKind::Memory),
        Self::First(StoreKind::File),
        Self::Replay(StoreKind::Memory),
        Self::Replay(StoreKind::File),
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Direct => "upstream, direct".to_owned(),
            Self::First(kind) => format!("hapax, first run, {}", kind.name()),
            Self::Nginx => "nginx, plain".to_owned(),
            Self::PassThrough => "hapax, pass-through".to_owned(),
            Self::Raw(StoreKind::Postgres) => "pgbench, the same two statements".to_owned(),
            Self::Raw(kind) => format!("bare client, the same two commands, {}", kind.name()),
            Self::Replay(kind) => format!("hapax, replay, {}", kind.name()),
            Self::Textbook => "textbook hyper proxy, plain".to_owned(),
        }
    }

    pub(crate) fn is_gateway(self) -> bool {
        match self {
            Self::Direct | Self::Nginx | Self::Raw(_) | Self::Textbook => false,
            Self::First(_) | Self::PassThrough | Self::Replay(_) => true,
        }
    }

    pub(crate) fn is_replay(self) -> bool {
        matches!(self, Self::Replay(_))
    }

    /// The store that takes part.
    pub(crate) fn store(self) -> Option<StoreKind> {
        match self {
            Self::Direct | Self::Nginx | Self::PassThrough | Self::Textbook => None,
            Self::First(kind) | Self::Raw(kind) | Self::Replay(kind) => Some(kind),
        }
    }

    /// The route the requests take.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Direct | Self::Nginx | Self::PassThrough | Self::Textbook => "/plain/orders",
            Self::First(_) | Self::Raw(_) | Self::Replay(_) => "/keyed/orders",
        }
    }
}
