//! hapax-proxy.
pub mod forward;
pub mod listen;
pub mod upstream;
