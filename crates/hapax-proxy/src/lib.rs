//! The gateway of Hapax: settings, routing and what runs between client and upstream.

pub mod cli;
pub mod config;
pub mod forward;
pub mod jwt;
pub mod keys;
pub mod listen;
pub mod route;
pub mod upstream;
