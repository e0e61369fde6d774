//! A queue consumer that acts once per message, although queues deliver more than once.
//!
//! ```sh
//! cargo run -p hapax-examples --example once
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hapax::guard::OnceError;
use hapax::{Attempt, Fingerprint, Guard, Intent, Key, MemoryStore, Policy, Principal, Secret};

struct Message {
    id: &'static str,
    text: &'static str,
}

/// What the queue is told of a message.
#[derive(Debug, Eq, PartialEq)]
enum Reply {
    /// Done, by this delivery or an earlier one.
    Acknowledge,
    /// Not now: deliver it again.
    Later,
    /// Nobody knows, or something is wrong with it: a person must look.
    Park,
}

struct Consumer {
    guard: Guard,
    policy: Arc<Policy>,
    secret: Secret,
    sent: Arc<AtomicU64>,
}

impl Consumer {
    fn new() -> Self {
        Self {
            guard: Guard::new(Arc::new(MemoryStore::default())),
            policy: Arc::default(),
            secret: Secret::new(b"sixteen bytes or more, kept with the store"),
            sent: Arc::default(),
        }
    }

    async fn receive(&self, message: &Message) -> Result<Reply, Box<dyn Error>> {
        let queue = Principal::Named { source: "queue", value: b"mails" };
        let intent = Intent {
            fingerprint: Fingerprint::of(message.text.as_bytes()),
            id: self.secret.record_id(&self.secret.scope(queue, ""), &Key::from_text(message.id)?),
            policy: Arc::clone(&self.policy),
            probe: None,
            route: "mails".into(),
        };
        let (sent, text) = (Arc::clone(&self.sent), message.text);
        let send = move |attempt: Attempt| async move {
            if text.is_empty() {
                // Certainly without effect: the next delivery runs.
                return Err("there is nothing to send".to_owned());
            }
            // For the mail service, should it know keys: the same on every attempt.
            let _key_of_the_call = attempt.child_key("send");
            let number = sent.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Bytes::from(format!("mail {number}")))
        };
        Ok(match self.guard.once(intent, send).await {
            Ok(_now_or_earlier) => Reply::Acknowledge,
            Err(OnceError::Mismatch | OnceError::Unknown) => Reply::Park,
            // Nothing ran, or without effect.
            Err(_not_now) => Reply::Later,
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let consumer = Consumer::new();
    let welcome = Message { id: "m-1", text: "welcome" };
    assert_eq!(consumer.receive(&welcome).await?, Reply::Acknowledge);
    // The acknowledgement was lost, and the queue delivers it again.
    assert_eq!(consumer.receive(&welcome).await?, Reply::Acknowledge);
    let another = Message { id: "m-1", text: "not what m-1 was" };
    assert_eq!(consumer.receive(&another).await?, Reply::Park);
    let empty = Message { id: "m-2", text: "" };
    assert_eq!(consumer.receive(&empty).await?, Reply::Later);
    assert_eq!(consumer.sent.load(Ordering::Relaxed), 1);
    println!("four deliveries, one mail");
    Ok(())
}

#[test]
fn four_deliveries_are_one_mail() -> Result<(), Box<dyn Error>> {
    main()
}
