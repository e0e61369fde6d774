//! The gateway of Hapax: settings, routing and what runs between client and upstream.

pub mod admin;
pub mod assemble;
pub mod audit;
pub mod cli;
pub mod config;
pub mod demo;
pub mod forward;
pub mod gateway;
pub mod jwt;
pub mod keys;
pub mod listen;
pub mod metrics;
pub mod route;
pub mod serve;
pub mod signals;
pub mod stores;
pub mod upstream;
