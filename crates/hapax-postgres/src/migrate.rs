//! Bringing the schema up to date.

use std::time::Duration;

use hapax::StoreError;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::time::timeout;

use crate::address::Address;
use crate::error::OpenError;
use crate::options::{PgOptions, SCHEMA};
use crate::refusal::{failed, schema_refused};

/// How long bringing the schema up to date may take, waiting for another node that does it included.
const MIGRATE_LIMIT: Duration = Duration::from_secs(120);

/// The migrations, in order. What has been released is never changed again.
const MIGRATIONS: [(i32, &str); 4] = [
    (1, include_str!("../migrations/0001_record.sql")),
    (2, include_str!("../migrations/0002_steps.sql")),
    (3, include_str!("../migrations/0003_administration.sql")),
    (4, include_str!("../migrations/0004_commit.sql")),
];

/// The newest version that this release knows.
pub(crate) const VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// What [`migrate`] found and did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Migrated {
    /// The version before; 0 where there was no schema.
    pub from: i32,
    /// The version now.
    pub to: i32,
}

/// Brings the schema of the database at `url` up to date: the store's own, which is made if there is
/// none. Of several nodes that do so at once, one works and the others wait for it.
///
/// All or nothing: what fails leaves the schema as it was. Takes the right to create a schema, or
/// one made beforehand that belongs to the role.
///
/// # Errors
/// [`OpenError`]; `Newer` if a newer release has been here.
pub async fn migrate(url: &str, options: &PgOptions) -> Result<Migrated, OpenError> {
    let address = Address::parse(url, options)?;
    let mut connection = address.connect_for_migration().await?;
    migrate_on(&mut connection, &address, &options.schema).await
}

pub(crate) async fn migrate_on(
    connection: &mut PgConnection,
    address: &Address,
    schema: &str,
) -> Result<Migrated, OpenError> {
    let refused = |error| schema_refused(address, schema, error);
    let found = version(connection, schema).await.map_err(refused)?;
    let result = match timeout(MIGRATE_LIMIT, apply(connection, schema, found)).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let reason = format!("bringing its schema up to date took over {MIGRATE_LIMIT:?}");
            return Err(failed(address, StoreError::none(reason)));
        }
    };
    let migrated = result.map_err(|error| match refused(error) {
        OpenError::Permission { address, reason, .. } => OpenError::Permission {
            address,
            reason,
            mend: "run `hapax migrate` as the owner of the schema or the database, then grant this role \
                   what `migrations/role.sql` lists"
                .to_owned(),
        },
        other => other,
    })?;
    if migrated.to > VERSION {
        let version = migrated.to;
        return Err(OpenError::Newer { address: address.text.clone(), known: VERSION, version });
    }
    Ok(migrated)
}

async fn apply(
    connection: &mut PgConnection,
    schema: &str,
    found: i32,
) -> Result<Migrated, sqlx::Error> {
    if found >= VERSION {
        return Ok(Migrated { from: found, to: found });
    }
    // One transaction, with a lock that ends with it: whatever lies between sees one session.
    let mut transaction = connection.begin().await?;
    let lock = format!("SELECT pg_advisory_xact_lock(hashtext('hapax migrate {schema}'))");
    transaction.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await?;
    // Another node may have been here while this one waited.
    let from = version(&mut transaction, schema).await?;
    for (_, script) in MIGRATIONS.iter().filter(|(version, _)| *version > from) {
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(for_schema(script, schema)))).await?;
    }
    transaction.commit().await?;
    Ok(Migrated { from, to: from.max(VERSION) })
}

/// The version of the schema; 0 where there is none.
pub(crate) async fn version(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<i32, sqlx::Error> {
    // By reading the catalogue: a lookup of the name may be answered from what this session knew
    // before it waited for another node.
    let there = format!(
        "SELECT count(*) > 0 AS there FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n \
         ON n.oid = c.relnamespace WHERE n.nspname = '{schema}' AND c.relname = 'migration'"
    );
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(there))).await?;
    if !row.try_get::<bool, _>("there")? {
        return Ok(0);
    }
    let newest = format!("SELECT coalesce(max(version), 0) AS newest FROM \"{schema}\".migration");
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(newest))).await?;
    row.try_get("newest")
}

/// The script for another schema than the one it is written for.
pub(crate) fn for_schema(script: &str, schema: &str) -> String {
    if schema == SCHEMA {
        return script.to_owned();
    }
    script
        .replace(&format!("{SCHEMA}."), &format!("\"{schema}\"."))
        .replace(&format!("SCHEMA {SCHEMA};"), &format!("SCHEMA \"{schema}\";"))
        .replace(&format!("regnamespace('{SCHEMA}')"), &format!("regnamespace('\"{schema}\"')"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_for_another_schema_do_not_name_the_first() {
        for (_, script) in MIGRATIONS {
            let moved = for_schema(script, "other");
            let code = moved.lines().filter(|line| !line.trim_start().starts_with("--"));
            for line in code {
                // The product is written otherwise, but for its command and the prefix of its headers.
                let rest = line.replace("`hapax migrate`", "").replace("(hapax-|", "");
                assert!(!rest.contains("hapax"), "{line}");
            }
        }
    }

    #[test]
    fn migrations_record_themselves_in_order() {
        for (number, (version, script)) in (1..).zip(MIGRATIONS) {
            assert_eq!(version, number);
            let mark = format!("INSERT INTO hapax.migration (version) VALUES ({version});");
            assert!(script.trim_end().ends_with(&mark), "migration {version}");
        }
    }
}
