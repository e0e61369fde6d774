//! Opening: is the server fit, is the schema up to date, are these the records of this node?

use std::sync::Arc;

use bytes::Bytes;
use hapax::{Secret, StoreError};
use sqlx::postgres::PgConnection;

use crate::address::Address;
use crate::call::{Calls, Function, Value};
use crate::connections::Connections;
use crate::decode::Reader;
use crate::error::OpenError;
use crate::hints::Hints;
use crate::line::Line;
use crate::migrate::{self, VERSION};
use crate::options::PgOptions;
use crate::promises::{Promises, Unfit};
use crate::refusal::{failed, refused, schema_refused};
use crate::store::PgStore;

/// The format of what the rows hold. Any change of meaning must raise it.
const FORMAT: i32 = 1;

pub(crate) async fn open(url: &str, options: PgOptions) -> Result<PgStore, OpenError> {
    let address = Address::parse(url, &options)?;
    let calls = Calls::new(&options.schema, options.pooled);
    let connections = Arc::new(Connections::new(
        address.session(&options),
        calls.clone(),
        options.connections_max,
        options.store_timeout,
    ));
    let mut connection = connections.connect().await.map_err(|source| failed(&address, source))?;
    let promises =
        Promises::ask(&mut connection).await.map_err(|error| refused(&address, error))?;
    promises.check().map_err(|unfit| match unfit {
        Unfit::Isolation(level) => OpenError::Isolation { address: address.text.clone(), level },
        Unfit::Old(version) => OpenError::Old { address: address.text.clone(), version },
        Unfit::ReadOnly => OpenError::ReadOnly { address: address.text.clone() },
    })?;
    bring_up_to_date(&mut connection, &address, &options).await?;
    let line = line(&mut connection, &address, &options).await?;
    connections.adopt(connection);
    let (secret, digest) = identify(&connections, &address, &options).await?;
    let waiting = match &line {
        Some(line) => line.waiting(),
        None => "; waiters poll, as there is nowhere to listen".to_owned(),
    };
    let guarantees = promises.guarantees(&address.text, &waiting);
    let hints = Hints::start(Arc::clone(&connections), &options.schema, line);
    Ok(PgStore::new(connections, hints, secret, digest, guarantees, options.clock_offset))
}

/// Where to listen, if anywhere; an address of its own is tried at once, as somebody is looking now.
async fn line(
    connection: &mut PgConnection,
    address: &Address,
    options: &PgOptions,
) -> Result<Option<Line>, OpenError> {
    let Some(url) = &options.listen_url else {
        return Ok((!options.pooled).then(|| Line::home(address.clone())));
    };
    let listening = Address::parse_listening(url, options)?;
    let mut line = Line::elsewhere(listening, connection).await;
    if let Err(reason) = line.check().await {
        line.tell_down(&reason);
    }
    Ok(Some(line))
}

async fn bring_up_to_date(
    connection: &mut PgConnection,
    address: &Address,
    options: &PgOptions,
) -> Result<(), OpenError> {
    if options.migrate {
        // The statements of a migration may take longer than those of an operation.
        let found = migrate::version(connection, &options.schema).await;
        if !matches!(found, Ok(VERSION)) {
            let mut connection = address.connect_for_migration().await?;
            migrate::migrate_on(&mut connection, address, &options.schema).await?;
        }
        return Ok(());
    }
    let version = migrate::version(connection, &options.schema)
        .await
        .map_err(|error| schema_refused(address, &options.schema, error))?;
    match version {
        VERSION => Ok(()),
        version if version > VERSION => {
            Err(OpenError::Newer { address: address.text.clone(), known: VERSION, version })
        }
        _ => Err(OpenError::NotMigrated {
            address: address.text.clone(),
            schema: options.schema.clone(),
        }),
    }
}

/// Says whose node this is, and hears whose records these are; the first node's word stands.
async fn identify(
    connections: &Connections,
    address: &Address,
    options: &PgOptions,
) -> Result<(Secret, [u8; 32]), OpenError> {
    let foreign = || OpenError::Refused { address: address.text.clone() };
    let mut made = [0; 32];
    if options.secret.is_none() {
        let failed = |error: getrandom::Error| failed(address, StoreError::none(error.to_string()));
        getrandom::fill(&mut made).map_err(failed)?;
    }
    let digest_of =
        |secret: &Secret| secret.digest(b"postgres store", &[options.scope_rules.as_bytes()]);
    let ours = Secret::new(options.secret.as_deref().unwrap_or(&made));
    let digest = digest_of(&ours);
    let kept = options.secret.is_none().then(|| Bytes::copy_from_slice(&made));
    let values = vec![
        Value::Int(Some(FORMAT)),
        Value::Bytes(Some(Bytes::copy_from_slice(&digest))),
        Value::Bytes(kept),
    ];
    let known = async {
        let rows = connections.call(Function::Identify, values).await?;
        let row = rows.first().ok_or_else(|| StoreError::Damaged("no identity".to_owned()))?;
        let mut reader = Reader::new(row);
        Ok((reader.read::<i32>()?, reader.read::<Vec<u8>>()?, reader.bytes()?))
    };
    let (format, known_digest, known_secret) =
        known.await.map_err(|source| failed(address, source))?;
    if format > FORMAT {
        let address = address.text.clone();
        return Err(OpenError::Newer { address, known: FORMAT, version: format });
    }
    // Without a secret of its own, a node uses the one that the first such node made.
    let secret = match (&options.secret, known_secret) {
        (Some(_), _) => ours,
        (None, Some(known)) => Secret::new(&known),
        (None, None) => return Err(foreign()),
    };
    let digest = digest_of(&secret);
    if known_digest != digest { Err(foreign()) } else { Ok((secret, digest)) }
}
