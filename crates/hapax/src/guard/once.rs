//! Once: the guard for any async function that is no HTTP handler: webhooks, queue consumers, mail
//! (M16).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Attempt, Guard, Intent, Verdict};
use crate::policy::Outcome;
use crate::record::Cause;
use crate::response::{Kept, RecordedResponse};

/// The value of an operation that took effect once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Once {
    /// Whether this call ran it, rather than getting an earlier call's value.
    pub ran: bool,
    /// What the first run returned.
    pub value: Bytes,
}

/// Why there is no value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError {
    /// It runs somewhere; ask again.
    #[error("the operation is running; ask again after {retry_after:?}")]
    Busy {
        /// When.
        retry_after: Duration,
    },
    /// The function failed and said that nothing took effect: the next call runs.
    #[error("the operation failed without effect: {0}")]
    Failed(String),
    /// The key was used for another payload.
    #[error("the key belongs to another operation")]
    Mismatch,
    /// Too many operations run at once.
    #[error("too many operations are running")]
    Overloaded,
    /// The store is not there or full; nothing ran.
    #[error("the store is unavailable")]
    Store,
    /// Nobody knows whether it took effect; it will not run again unasked.
    #[error("the outcome of the operation is unknown")]
    Unknown,
}

impl Guard {
    /// Runs `effect` once for the intent and returns its value, or the value of the call that did.
    ///
    /// The effect answers `Ok(value)`, kept for later calls, or `Err(reason)` where it knows that
    /// nothing took effect, which frees the key. One that cannot know should panic or not return:
    /// both leave the outcome unknown.
    ///
    /// # Errors
    /// [`OnceError`] says whether asking again is safe; it always is with the same key.
    ///
    /// Cancel-safe as [`Guard::run`] is.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use hapax::{Fingerprint, Guard, Intent, Key, MemoryStore, Policy, Principal, Secret};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let guard = Guard::new(Arc::new(MemoryStore::default()));
    /// let secret = Secret::new(b"sixteen bytes or more, kept with the store");
    /// let queue = secret.scope(Principal::Named { source: "queue", value: b"orders" }, "");
    /// let message = (Key::from_text("message-17")?, b"payload");
    /// let intent = Intent {
    ///     fingerprint: Fingerprint::of(message.1),
    ///     id: secret.record_id(&queue, &message.0),
    ///     policy: Arc::new(Policy::default()),
    ///     probe: None,
    ///     route: "orders".into(),
    /// };
    /// let first = guard.once(intent.clone(), |_attempt| async { Ok("sent".into()) }).await?;
    /// let again = guard.once(intent, |_attempt| async { unreachable!("runs once") }).await?;
    /// assert!(first.ran && !again.ran);
    /// assert_eq!(again.value, "sent");
    /// # Ok(()) }
    /// ```
    pub async fn once<F, Fut>(&self, intent: Intent, effect: F) -> Result<Once, OnceError>
    where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Bytes, String>> + Send + 'static,
    {
        let reason = Arc::new(std::sync::Mutex::new(None));
        let told = Arc::clone(&reason);
        let verdict = self
            .run(intent, move |attempt| async move {
                match effect(attempt).await {
                    Ok(value) => Outcome::Answered {
                        directive: Some(crate::policy::Directive::Final),
                        response: RecordedResponse::value(value),
                    },
                    Err(why) => {
                        *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(why);
                        Outcome::NotSent
                    }
                }
            })
            .await;
        let why = || {
            let mut reason = reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            reason.take().unwrap_or_else(|| "another call's run failed".to_owned())
        };
        match verdict {
            Verdict::Busy { retry_after } => Err(OnceError::Busy { retry_after }),
            Verdict::Held => Err(OnceError::Unknown),
            Verdict::Mismatch => Err(OnceError::Mismatch),
            Verdict::Overloaded => Err(OnceError::Overloaded),
            Verdict::Ran(ran) => value(&ran.outcome, true, why),
            Verdict::Waited(ran) => value(&ran.outcome, false, why),
            Verdict::Replayed(replay) => match &*replay.kept {
                Kept::Response(response) => Ok(Once { ran: false, value: response.body.clone() }),
                Kept::NotRetained { .. } => Err(OnceError::Unknown),
            },
            Verdict::StoreFailed { .. } => Err(OnceError::Store),
        }
    }
}

fn value(outcome: &Outcome, ran: bool, why: impl FnOnce() -> String) -> Result<Once, OnceError> {
    match outcome {
        Outcome::Answered { response, .. } | Outcome::Settled { response } => {
            Ok(Once { ran, value: response.body.clone() })
        }
        Outcome::NotSent => Err(OnceError::Failed(why())),
        Outcome::AnsweredLarge { .. }
        | Outcome::Unknown(
            Cause::Cut
            | Cause::Drained
            | Cause::Lost
            | Cause::Panicked
            | Cause::Reported
            | Cause::TimedOut,
        ) => Err(OnceError::Unknown),
    }
}
