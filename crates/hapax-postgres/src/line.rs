//! The line on which hints of other nodes are heard: where it leads, and a word in the log when it
//! does not get there. Everything works without it, but late, which nobody would trace to it.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::time::timeout;

use crate::address::Address;
use crate::error::told;
use crate::refusal::mend;

/// How long connecting, listening or testing the line may take.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Names a database for ever, whatever it is reached by.
const WHICH: &str = "
    SELECT s.system_identifier::text || '/' || d.oid::text AS which
    FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_database AS d
    WHERE d.datname = current_database()
";

/// Where to listen.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    address: Address,
    /// The database of the records; `None` where they are at the same address, or where it may not
    /// be asked.
    home: Option<String>,
    /// Whether the log's last word is that nobody can listen.
    is_down: bool,
}

impl Line {
    /// The line to where the records are.
    pub(crate) const fn home(address: Address) -> Self {
        Self { address, home: None, is_down: false }
    }

    /// The line to an address of its own, which must lead to the records that `connection` does.
    pub(crate) async fn elsewhere(address: Address, connection: &mut PgConnection) -> Self {
        Self { address, home: which(connection).await, is_down: false }
    }

    pub(crate) const fn options(&self) -> &PgConnectOptions {
        &self.address.options
    }

    /// Why nobody can listen there at the moment, if so; in words for people, without a password.
    pub(crate) async fn check(&self) -> Result<(), String> {
        match timeout(ANSWER_LIMIT, self.reach()).await {
            Ok(reached) => reached,
            Err(_elapsed) => Err(format!("no answer came within {} ms", ANSWER_LIMIT.as_millis())),
        }
    }

    async fn reach(&self) -> Result<(), String> {
        let mut connection = self.options().connect().await.map_err(|error| self.reason(&error))?;
        if self.home.is_some() {
            let there = which(&mut connection).await;
            if there.is_some() && there != self.home {
                let setting = self.address.setting;
                return Err(format!(
                    "this is another database than that of the records; name that one in `{setting}`"
                ));
            }
        }
        // It has said what was asked of it, and ends with or without a word.
        let _closed = connection.close().await;
        Ok(())
    }

    /// What the server said, and what to do about it.
    pub(crate) fn reason(&self, error: &sqlx::Error) -> String {
        match mend(&self.address, error) {
            Some(mend) => format!("{}; {mend}", told(error)),
            None => told(error),
        }
    }

    /// Nobody can listen: said once until somebody can.
    pub(crate) fn tell_down(&mut self, reason: &str) {
        let address = &self.address.text;
        if self.is_down {
            tracing::debug!("nobody can listen at {address} yet: {reason}");
        } else {
            self.is_down = true;
            tracing::warn!(
                "failed to listen at {address} for what other nodes settle: {reason}. Until that \
                 succeeds, who waits for one of their keys polls"
            );
        }
    }

    /// Somebody listens: said if the opposite was.
    pub(crate) fn tell_up(&mut self) {
        if std::mem::take(&mut self.is_down) {
            tracing::info!("listening at {} for what other nodes settle", self.address.text);
        }
    }

    /// What the start says of waiting.
    pub(crate) fn waiting(&self) -> String {
        if self.is_down {
            let address = &self.address.text;
            format!("; waiters poll, as nobody can listen at {address} at the moment")
        } else {
            String::new()
        }
    }
}

/// Which database this is; `None` where that may not be asked.
async fn which(connection: &mut PgConnection) -> Option<String> {
    let row = connection.fetch_one(sqlx::raw_sql(WHICH)).await.ok()?;
    row.try_get("which").ok()
}
