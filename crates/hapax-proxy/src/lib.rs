//! The gateway of Hapax: settings, routing and what runs between client and upstream.

pub mod assemble;
pub mod cli;
pub mod config;
pub mod forward;
pub mod gateway;
pub mod jwt;
pub mod keys;
pub mod listen;
pub mod route;
pub mod serve;
pub mod signals;
pub mod upstream;
