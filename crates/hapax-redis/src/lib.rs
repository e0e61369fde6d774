//! The shared store of Hapax on Redis or Valkey: `redis://...`, `rediss://...`, `redis-cluster://...`.
//!
//! Any number of gateways and libraries use one server, or one cluster, as one. [`RedisStore`]
//! implements [`hapax::Store`]:
//!
//! - **Each operation is one script on one key, one round trip.** A server runs scripts one at a time,
//!   so that a step is atomic; and as it names one key, a cluster can hold the records (`lua/`).
//! - **The server's clock judges**, whichever node asks.
//! - **What has expired the server removes by itself.** What is in progress or in doubt carries no time.
//! - **A server that is full refuses new claims and goes on with those it granted.** They may take it
//!   somewhat beyond `maxmemory`: an answer for each operation that runs.
//! - **Whose records these are is asked at every connection and once a second**: a server that holds
//!   those of another secret or other scope rules is refused, and so is one that was flushed.
//!
//! # What it does not promise
//!
//! The promise to run an operation once is as good as the server's memory of it:
//!
//! - **Replication is asynchronous.** A replica that is promoted may lack the last steps, and a claim
//!   that is forgotten runs again. [`RedisOptions::wait_replicas`] makes that unlikely. It is no
//!   consensus: nobody keeps a replica that has missed the step from being promoted.
//! - **A crash forgets what was not on the disk.** Only `appendonly yes` with `appendfsync always` and
//!   `no-appendfsync-on-rewrite no` (or [`RedisOptions::wait_fsync`]) keeps everything that was
//!   answered.
//! - **Eviction forgets at will.** Any `maxmemory-policy` but `noeviction` is refused, unless
//!   [`RedisOptions::allow_eviction`] says otherwise.
//! - **A cluster's server that lost its part** (flushed, or restarted with nothing on disk) is noticed
//!   only if that part held the identity.
//! - **The clock is that of the machine** that holds the record. After a failover it is another's.
//!
//! What the server is set up for is asked at opening, and
//! [`guarantees`](hapax::Store::guarantees) says it in one sentence. Where money is at stake, use a
//! store that commits.
//!
//! # What it costs to look at all records
//!
//! A server finds keys by walking over all of them. One page of
//! [`list`](hapax::Store::list) costs a walk over the whole store; sizes
//! ([`stats`](hapax::Store::stats)) are counted in slices of fifty thousand keys, one slice for each
//! call, so that in a large store they are those of the last walk that came to its end.

//!
//! # What it needs
//!
//! Redis 6.2 or later, or Valkey (8.0 and 8.1 were tried). A user of its own needs the keys
//! `~PREFIX:*`, the channel `&PREFIX:settled`, and `+@connection +@read +@hash +@scripting +@pubsub
//! +info +time +del +persist +pexpireat +scan +dbsize`; in a cluster `+cluster|slots +cluster|myid
//! +asking`; `+wait +waitaof` where it waits; `+config|get`, so that it can say what the server promises.

mod address;
mod browse;
mod census;
mod decode;
mod denial;
mod driver;
mod error;
mod hints;
mod line;
mod names;
mod open;
mod options;
mod promises;
mod reply;
mod script;
mod servers;
mod slots;
mod store;
mod wait;
mod walk;

pub use error::OpenError;
pub use options::RedisOptions;
pub use store::RedisStore;
