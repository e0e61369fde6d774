//! `hapax demo`: the same impatient customers against the same sample API, once bare and once
//! through a real gateway process.
//!
//! ```text
//! api.rs      payments, orders and tickets, with a ledger of what took effect
//! customer.rs requests, and answers that get lost
//! process.rs  the gateway as a child process that can be killed
//! relay.rs    an ordinary proxy in its place, which can be killed too
//! scenes.rs   what happens
//! account.rs  how it is told
//! ```

mod account;
mod api;
mod customer;
mod process;
mod relay;
mod scenes;

use std::io;
use std::process::ExitCode;

use crate::cli::{DemoArgs, exit};
use crate::signals;

use account::say;
use api::SampleApi;
use process::{Folder, GatewayProcess};
use scenes::Stage;

/// Why the demo cannot be played; reads after "failed to ...".
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("make a temporary folder: {0}")]
    Folder(io::Error),
    #[error("start a gateway of the demo: {0}")]
    Gateway(String),
    #[error("listen on a free port: {0}")]
    Listen(io::Error),
    #[error("play a scene of the demo: {0}")]
    Scene(String),
}

/// Plays the demo, then stays up until told to stop, unless it is to run only once.
///
/// The exit code is 0 if every operation took effect once through the gateway, [`exit::REFUSED`] if
/// one did not, and [`exit::UNAVAILABLE`] if the demo could not be played. What it started has ended
/// when it returns, and also when the future is dropped.
pub async fn run(arguments: &DemoArgs) -> ExitCode {
    match play(arguments.once).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => exit::REFUSED.into(),
        Err(error) => {
            eprintln!("hapax: failed to {error}");
            exit::UNAVAILABLE.into()
        }
    }
}

/// Whether every operation took effect once through the gateway.
async fn play(once: bool) -> Result<bool, DemoError> {
    let told = signals::told_to_stop();
    tokio::pin!(told);
    let folder = Folder::create().map_err(DemoError::Folder)?;
    let api = SampleApi::start().await.map_err(DemoError::Listen)?;
    let gateway = GatewayProcess::start(&folder, api.address).await?;
    account::open(&api, &gateway);
    let mut stage = Stage::new(api, gateway, &folder);
    let held = tokio::select! {
        held = scenes::play(&mut stage) => held?,
        () = &mut told => return Ok(true),
    };
    if !once {
        account::try_it(&stage.api, &stage.gateway);
        told.await;
        say("");
    }
    Ok(held)
}
