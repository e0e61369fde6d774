//! HTTP written and read byte by byte, so that malformed messages can be sent and judged.

pub(crate) mod chunked;
pub(crate) mod endpoint;
pub(crate) mod frames;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod head;
pub(crate) mod message;

pub(crate) use endpoint::Endpoint;
pub(crate) use h1::{Connection, WireError};
pub(crate) use head::Head;
pub(crate) use message::{Answer, Body, Request};
