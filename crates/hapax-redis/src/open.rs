//! Opening: are the servers fit, are these the records of this node?

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use hapax::{Secret, StoreError};

use crate::address::Address;
use crate::driver::Driver;
use crate::error::OpenError;
use crate::hints::Hints;
use crate::line::Identity;
use crate::names::Names;
use crate::options::RedisOptions;
use crate::promises::{Promises, guarantees};
use crate::reply::{Parts, number};
use crate::script::{Call, Step};
use crate::servers::Servers;
use crate::store::RedisStore;

/// The format of what the hashes hold. Any change of meaning must raise it.
const FORMAT: u64 = 1;

/// How often the servers are asked whose records they hold: a flush breaks no connection.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Every so many looks, each connection is asked for a sign of life.
const LOOKS_PER_SIGN: u32 = 10;

pub(crate) async fn open(text: &str, options: RedisOptions) -> Result<RedisStore, OpenError> {
    let address = Address::parse(text)?;
    let shown = address.to_string();
    let names = Names::new(&options.prefix)?;
    let failed = |source: StoreError| OpenError::of(source, &shown, &options.prefix);
    let driver = Driver::start().map_err(|error| failed(StoreError::none(error)))?;
    let identity = Identity { digest: Arc::new(OnceLock::new()), key: names.identity() };
    let servers = Servers::new(address, &options, identity, driver);
    let servers = Arc::new(servers.map_err(|trouble| failed(trouble.into_error(false)))?);

    let masters = servers.masters(servers.deadline()).await;
    let masters = masters.map_err(|source| match source.to_string() {
        told if told.contains("cluster support disabled") => OpenError::Cluster {
            address: shown.clone(),
            found: "no node of a cluster",
            scheme: "redis",
            server: "the server".to_owned(),
        },
        _ => failed(source),
    })?;
    let mut promised = Vec::with_capacity(masters.len());
    for node in &masters {
        let promises = Promises::ask(&servers, node).await.map_err(failed)?;
        promises.check(&servers, options.allow_eviction)?;
        promised.push(promises);
    }
    let (secret, digest) = identify(&servers, &shown, &options).await?;
    // Nobody else sets it.
    let _first = servers.identity.digest.set(digest);

    servers.driver().spawn(watch(Arc::downgrade(&servers)));
    let guarantees = guarantees(&promised, &shown, servers.wait());
    let hints = Hints::new(names.channel());
    Ok(RedisStore::new(servers, names, hints, secret, guarantees, options.clock_offset))
}

/// Looks after the servers until the store is gone.
async fn watch(servers: Weak<Servers>) {
    for look in 1_u32.. {
        tokio::time::sleep(WATCH_PAUSE).await;
        let Some(servers) = servers.upgrade() else { return };
        servers.watch().await;
        if look % LOOKS_PER_SIGN == 0 {
            servers.keep_alive().await;
        }
    }
}

/// Says whose node this is, and hears whose records these are; the first node's word stands.
async fn identify(
    servers: &Servers,
    address: &str,
    options: &RedisOptions,
) -> Result<(Secret, [u8; 32]), OpenError> {
    let refused = || OpenError::Refused { address: address.to_owned() };
    let failed = |source| OpenError::of(source, address, &options.prefix);
    let mut made = [0; 32];
    if options.secret.is_none() {
        getrandom::fill(&mut made).map_err(|error| failed(StoreError::none(error.to_string())))?;
    }
    let digest_of =
        |secret: &Secret| secret.digest(b"redis store", &[options.scope_rules.as_bytes()]);
    let ours = Secret::new(options.secret.as_deref().unwrap_or(&made));
    let mut call = Call::new(Step::Identify, servers.identity.key.clone())
        .with_number(Some(FORMAT))
        .with(digest_of(&ours));
    if options.secret.is_none() {
        call = call.with(made);
    }
    let known = async {
        let mut parts = Parts::of(servers.call(&call).await?)?;
        let format = parts.bytes()?.unwrap_or_default();
        Ok((number(&format)?, parts.bytes()?.unwrap_or_default(), parts.bytes()?))
    };
    let (format, known_digest, known_secret) = known.await.map_err(failed)?;
    if format > FORMAT {
        let address = address.to_owned();
        return Err(OpenError::Newer { address, known: FORMAT, version: format });
    }
    // Without a secret of its own, a node uses the one that the first such node made.
    let secret = match (&options.secret, known_secret) {
        (Some(_), _) => ours,
        (None, Some(known)) => Secret::new(&known),
        (None, None) => return Err(refused()),
    };
    let digest = digest_of(&secret);
    if known_digest != digest.as_slice() { Err(refused()) } else { Ok((secret, digest)) }
}
