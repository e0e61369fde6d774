//! A place on the test servers for each store under test.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hapax::ClockOffset;
use hapax_redis::{RedisOptions, RedisStore};

/// The address that a variable holds; `None` if there is none, which is said aloud. Under `CI=true` a
/// server that is missing is a failure.
pub(crate) fn address(variable: &str) -> Option<String> {
    match std::env::var(variable) {
        Ok(address) if !address.is_empty() => Some(address),
        Ok(_) | Err(_) => {
            let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!in_ci, "{variable} is not set, and in CI nothing is skipped");
            // Past the test runner, which would keep it to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {variable} is not set; `cargo xtask test` starts a server and sets it"
            );
            None
        }
    }
}

/// Keys that nobody else uses, none of them there yet.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) address: String,
    pub(crate) clock: ClockOffset,
    pub(crate) prefix: String,
}

impl Place {
    pub(crate) fn take(address: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::SeqCst);
        // Process ids come again, and what an earlier run left is in the way.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros());
        let prefix = format!("t{}-{n}-{now}", std::process::id());
        Self { address: address.to_owned(), clock: ClockOffset::default(), prefix }
    }

    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions {
            clock_offset: self.clock.clone(),
            prefix: self.prefix.clone(),
            secret: Some(b"the secret of the tests".to_vec()),
            // The machine is slow when everything runs at once; no test is about this.
            store_timeout: Duration::from_secs(30),
            ..RedisOptions::default()
        }
    }

    pub(crate) async fn open(&self, options: RedisOptions) -> Arc<RedisStore> {
        Arc::new(RedisStore::connect(&self.address, options).await.expect("a store"))
    }
}
