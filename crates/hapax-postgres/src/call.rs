//! One call of one of the store's functions, in the two forms in which it can be sent.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor as _, Postgres};

/// The functions of `migrations/`, but for those that they call themselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Function {
    AwaitSeat,
    Claim,
    Identify,
    List,
    Peek,
    Purge,
    Renew,
    Settle,
    Stats,
    Sweep,
    Wake,
}

/// An argument. What is not known as a number or a flag travels as bytes, so that no text of
/// anyone's is ever part of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Bytes(Option<Bytes>),
    Flag(bool),
    Int(Option<i32>),
    Number(Option<i64>),
    /// A word of this crate's own, or a checked schema name.
    Word(Arc<str>),
}

impl Function {
    const ALL: [Self; 11] = [
        Self::AwaitSeat,
        Self::Claim,
        Self::Identify,
        Self::List,
        Self::Peek,
        Self::Purge,
        Self::Renew,
        Self::Settle,
        Self::Stats,
        Self::Sweep,
        Self::Wake,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::AwaitSeat => "await_seat",
            Self::Claim => "claim",
            Self::Identify => "identify",
            Self::List => "list",
            Self::Peek => "peek",
            Self::Purge => "purge",
            Self::Renew => "renew",
            Self::Settle => "settle",
            Self::Stats => "stats",
            Self::Sweep => "sweep",
            Self::Wake => "wake",
        }
    }

    const fn arguments(self) -> usize {
        match self {
            Self::AwaitSeat | Self::Stats => 1,
            Self::Peek | Self::Sweep | Self::Wake => 2,
            Self::Identify | Self::Purge => 3,
            Self::Renew => 6,
            Self::List => 8,
            Self::Settle => 10,
            Self::Claim => 12,
        }
    }

    /// What it answers. `shown` is a row of the table, as `record::decode` reads it.
    const fn columns(self) -> &'static str {
        match self {
            Self::AwaitSeat => "f.is_free",
            Self::Claim => "f.granted, f.seen_at, f.shown",
            Self::Identify => "f.known_format, f.known_digest, f.known_secret",
            Self::List => "f.seen_at, f.looks, f.looked_to, f.matches, f.shown",
            Self::Peek => "f.seen_at, f.shown",
            Self::Purge => "f.outcome",
            Self::Renew => {
                "f.outcome, f.fence, f.attempts, f.claimed_at, f.lapses_at, f.rerun_of, f.progress"
            }
            Self::Settle => "f.outcome, f.fence, f.awaited",
            Self::Stats => "f.seen_at, f.in_doubt, f.in_doubt_since, f.records, f.bytes",
            Self::Sweep => "f.swept",
            Self::Wake => "f.woken",
        }
    }
}

/// How calls are sent.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    /// The statements to prepare, by function; none where a pooler would lose what is prepared.
    prepared: Option<Vec<Arc<str>>>,
    schema: Arc<str>,
}

impl Calls {
    /// Calls of the functions in `schema`, which has been checked to be a plain name.
    pub(crate) fn new(schema: &str, pooled: bool) -> Self {
        let schema = Arc::from(schema);
        let places = |function: Function| {
            (1..=function.arguments()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
        };
        let prepared = (!pooled).then(|| {
            let text = |each| Arc::from(statement(&schema, each, &places(each)));
            Function::ALL.into_iter().map(text).collect()
        });
        Self { prepared, schema }
    }

    /// Makes the call and waits until the server has committed: the rows, and that the connection is
    /// ready for the next call.
    pub(crate) async fn make(
        &self,
        connection: &mut PgConnection,
        function: Function,
        values: Vec<Value>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        match &self.prepared {
            Some(prepared) => {
                let text = Arc::clone(&prepared[function as usize]);
                let query = sqlx::query::<Postgres>(AssertSqlSafe(text));
                values.into_iter().fold(query, bind).fetch_all(connection).await
            }
            None => {
                let literals = values.iter().map(literal).collect::<Vec<_>>().join(", ");
                let text = statement(&self.schema, function, &literals);
                connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await
            }
        }
    }
}

fn statement(schema: &str, function: Function, arguments: &str) -> String {
    let (columns, name) = (function.columns(), function.name());
    format!("SELECT {columns} FROM \"{schema}\".{name}({arguments}) AS f")
}

fn bind(query: Query<'_, Postgres, PgArguments>, value: Value) -> Query<'_, Postgres, PgArguments> {
    match value {
        Value::Bytes(bytes) => query.bind(bytes.as_deref().map(<[u8]>::to_vec)),
        Value::Flag(flag) => query.bind(flag),
        Value::Int(number) => query.bind(number),
        Value::Number(number) => query.bind(number),
        Value::Word(word) => query.bind(word.to_string()),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Bytes(None) => "NULL::bytea".to_owned(),
        Value::Bytes(Some(bytes)) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let mut text = String::with_capacity(2 * bytes.len() + 16);
            text.push_str("decode('");
            for byte in bytes.iter() {
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
            text.push_str("', 'hex')");
            text
        }
        Value::Flag(flag) => flag.to_string(),
        Value::Int(None) => "NULL::integer".to_owned(),
        Value::Int(Some(number)) => format!("({number})::integer"),
        Value::Number(None) => "NULL::bigint".to_owned(),
        Value::Number(Some(number)) => format!("({number})::bigint"),
        Value::Word(word) => format!("'{word}'::text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_their_number() {
        for (number, function) in Function::ALL.into_iter().enumerate() {
            assert_eq!(function as usize, number);
        }
    }

    #[test]
    fn literals_hold_no_text_of_anyones() {
        let hostile = Value::Bytes(Some(Bytes::from_static(b"'); --")));
        assert_eq!(literal(&hostile), "decode('27293b202d2d', 'hex')");
        assert_eq!(literal(&Value::Number(Some(-1))), "(-1)::bigint");
        assert_eq!(literal(&Value::Bytes(None)), "NULL::bytea");
    }

    #[test]
    fn statements_name_schema_function_and_columns() {
        assert_eq!(
            statement("s", Function::Peek, "$1, $2"),
            "SELECT f.seen_at, f.shown FROM \"s\".peek($1, $2) AS f"
        );
    }
}
