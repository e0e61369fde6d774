//! Why `hapax keys` did not do what was asked.

use crate::cli::exit;

/// One sentence for the user, and the exit code that goes with it. Nothing was changed, but after
/// [`KeysError::Unavailable`] a settlement or a removal may have reached the gateway: repeat it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The flags contradict each other.
    #[error(
        "--status, --header and --body say what an executed operation answered; leave them out \
         with --outcome not-executed"
    )]
    AnswerWithoutEffect,
    /// `--admin` or `HAPAX_ADMIN` is no address.
    #[error(
        "--admin (HAPAX_ADMIN) = {0:?} is not an http address; write it like \
         \"http://127.0.0.1:9090\""
    )]
    BadAddress(String),
    /// The token cannot stand in a header.
    #[error(
        "--token (HAPAX_ADMIN_TOKEN) holds what a header cannot carry; give the token that the \
         gateway was started with"
    )]
    BadToken,
    /// `--body @FILE` cannot be read.
    #[error("--body = \"@{path}\" cannot be read ({source}); name a file that can")]
    Body {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `--body @FILE` is larger than any answer that is kept.
    #[error("--body = \"@{path}\" is larger than 8MiB; settle with a shorter answer")]
    BodyTooLarge {
        /// The file.
        path: String,
    },
    /// The admin listener wants another token, or none of this name.
    #[error(
        "the admin listener at {address} does not let us in ({detail}); give its token with \
         --token or HAPAX_ADMIN_TOKEN"
    )]
    Denied {
        /// Where it listens.
        address: String,
        /// What it said.
        detail: String,
    },
    /// The record is not there, or may not be changed so.
    #[error("the gateway refused: {detail}")]
    Refused {
        /// What it said.
        detail: String,
    },
    /// What answers is not the admin listener of a gateway.
    #[error(
        "what answers at {address} is not an admin listener ({detail}); say where it is with \
         --admin or HAPAX_ADMIN"
    )]
    Strange {
        /// Where it listens.
        address: String,
        /// What is strange about it.
        detail: String,
    },
    /// Nobody answers, or not in time, or the store behind the gateway does not.
    #[error(
        "the admin listener at {address} does not answer ({detail}); start the gateway, or say \
         where it is with --admin or HAPAX_ADMIN"
    )]
    Unavailable {
        /// Where it should listen.
        address: String,
        /// What happened.
        detail: String,
    },
}

impl KeysError {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::AnswerWithoutEffect
            | Self::BadAddress(_)
            | Self::BadToken
            | Self::Body { .. }
            | Self::BodyTooLarge { .. } => exit::USAGE,
            Self::Denied { .. } => exit::CONFIG,
            Self::Refused { .. } => exit::REFUSED,
            Self::Strange { .. } | Self::Unavailable { .. } => exit::UNAVAILABLE,
        }
    }
}
