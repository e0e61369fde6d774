//! The steps as scripts, and one call of one of them.

use std::sync::LazyLock;

use redis::{Cmd, Script};

/// The scripts of `lua/`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Claim,
    Identify,
    Peek,
    Purge,
    Renew,
    Settle,
    Sweep,
}

/// A step and what it is done to.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    arguments: Vec<Vec<u8>>,
    key: String,
    step: Step,
}

struct Source {
    digest: String,
    text: &'static str,
}

macro_rules! source {
    ($name:literal) => {
        LazyLock::new(|| {
            let text = concat!(
                include_str!("../lua/common.lua"),
                "\n",
                include_str!(concat!("../lua/", $name))
            );
            Source { digest: Script::new(text).get_hash().to_owned(), text }
        })
    };
}

static CLAIM: LazyLock<Source> = source!("claim.lua");
static IDENTIFY: LazyLock<Source> = source!("identify.lua");
static PEEK: LazyLock<Source> = source!("peek.lua");
static PURGE: LazyLock<Source> = source!("purge.lua");
static RENEW: LazyLock<Source> = source!("renew.lua");
static SETTLE: LazyLock<Source> = source!("settle.lua");
static SWEEP: LazyLock<Source> = source!("sweep.lua");

impl Step {
    fn source(self) -> &'static Source {
        match self {
            Self::Claim => &CLAIM,
            Self::Identify => &IDENTIFY,
            Self::Peek => &PEEK,
            Self::Purge => &PURGE,
            Self::Renew => &RENEW,
            Self::Settle => &SETTLE,
            Self::Sweep => &SWEEP,
        }
    }

    /// Whether it may change the record, so that replicas may be waited for.
    pub(crate) const fn writes(self) -> bool {
        match self {
            Self::Claim | Self::Identify | Self::Purge | Self::Renew | Self::Settle => true,
            // What is swept is gone for every reader anyway.
            Self::Peek | Self::Sweep => false,
        }
    }

    /// Whether a repetition gives the first answer, so that a call whose connection broke may be
    /// repeated without asking the caller.
    pub(crate) const fn repeats(self) -> bool {
        match self {
            Self::Claim | Self::Identify | Self::Peek | Self::Renew | Self::Settle => true,
            Self::Purge | Self::Sweep => false,
        }
    }
}

impl Call {
    pub(crate) const fn new(step: Step, key: String) -> Self {
        Self { arguments: Vec::new(), key, step }
    }

    /// With one more argument.
    pub(crate) fn with(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With one more argument, empty if it is not there.
    pub(crate) fn with_number(self, number: Option<u64>) -> Self {
        self.with(number.map_or(String::new(), |number| number.to_string()))
    }

    /// With one more argument, which says whether something is so.
    pub(crate) fn with_flag(self, flag: bool) -> Self {
        self.with(if flag { "1" } else { "0" })
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) const fn step(&self) -> Step {
        self.step
    }

    /// The command; the `whole` script for a server that does not know it yet, which then does.
    pub(crate) fn command(&self, whole: bool) -> Cmd {
        let source = self.step.source();
        let mut command = redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
        command.arg(if whole { source.text } else { source.digest.as_str() });
        command.arg(1).arg(&self.key);
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}
