//! `hapax keys`: looks at records and settles them, through the admin listener of a gateway.

mod client;
mod error;
mod show;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Map, Value, json};

pub use error::KeysError;

use crate::cli::{KeysArgs, KeysFormat, KeysVerb, ListArgs, Outcome, SettleArgs, ShowArgs};
use client::{AdminClient, segment};

/// The largest body that may be settled with.
const BODY_BYTES_MAX: u64 = 8 << 20;

/// Does what was asked for and returns what to print, with a line end.
///
/// The admin listener is `--admin`, else the variable `HAPAX_ADMIN`, else the default; the token
/// likewise. Every verb is safe to repeat, and safe to drop half-way.
pub async fn run(
    arguments: &KeysArgs,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, KeysError> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let admin = arguments.admin.clone().or_else(|| variable("HAPAX_ADMIN"));
    let token = arguments.token.clone().or_else(|| variable("HAPAX_ADMIN_TOKEN"));
    let client = AdminClient::new(admin.as_deref().unwrap_or("127.0.0.1:9090"), token)?;
    let (answer, text) = match &arguments.verb {
        KeysVerb::List(list) => {
            let answer = records(&client, list).await?;
            let text = show::table(&answer);
            (answer, text)
        }
        KeysVerb::Purge(purge) => {
            let force = if purge.force { "?force=true" } else { "" };
            let path = format!("/api/records/{}{force}", segment(&purge.id));
            let answer = client.call(&Method::DELETE, &path, None).await?;
            (answer, format!("purged {}\n", show::plain(&purge.id)))
        }
        KeysVerb::Settle(settle) => {
            let path = format!("/api/records/{}/settle", segment(&settle.id));
            let answer = client.call(&Method::POST, &path, Some(&settlement(settle)?)).await?;
            let outcome = match settle.outcome {
                Outcome::Executed => "executed: retries get the answer given here",
                Outcome::NotExecuted => "not executed: the key is free, and a retry runs",
            };
            (answer, format!("settled {} as {outcome}\n", show::plain(&settle.id)))
        }
        KeysVerb::Show(which) => {
            let answer = record(&client, which).await?;
            let text = show::members(&answer);
            (answer, text)
        }
    };
    Ok(match arguments.format {
        KeysFormat::Json => format!("{answer:#}\n"),
        KeysFormat::Text => text,
    })
}

/// As many records as were asked for, page by page. `cursor` says that there are more.
async fn records(client: &AdminClient, list: &ListArgs) -> Result<Value, KeysError> {
    let mut records = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let filters =
            [("state", &list.state), ("scope", &list.scope), ("cursor", &cursor)].into_iter();
        let query: Vec<_> = filters
            .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))))
            .collect();
        let path = format!("/api/records?{}", query.join("&"));
        let page = client.call(&Method::GET, path.trim_end_matches('?'), None).await?;
        let found = page.get("records").and_then(Value::as_array);
        let found = found.ok_or_else(|| client.strange("it has no list of records"))?;
        records.extend(found.iter().cloned());
        let next = page.get("cursor").and_then(Value::as_str).filter(|next| !next.is_empty());
        // A page that brings nothing, or leads to itself, would go on for ever.
        let ended = found.is_empty() || next.is_none() || next == cursor.as_deref();
        if ended || records.len() >= list.limit {
            let more = records.len() > list.limit || !ended;
            records.truncate(list.limit);
            let next = if more { next.map(str::to_owned) } else { None };
            return Ok(json!({"records": records, "cursor": next, "more": more}));
        }
        cursor = next.map(str::to_owned);
    }
}

/// One record, by its id or by what its caller sent. Keys and credentials travel in a body, so that
/// no list of requests keeps them.
async fn record(client: &AdminClient, which: &ShowArgs) -> Result<Value, KeysError> {
    let Some(key) = &which.key else {
        let id = which.id.as_deref().unwrap_or("");
        return client.call(&Method::GET, &format!("/api/records/{}", segment(id)), None).await;
    };
    let sent = [("authorization", &which.principal), ("authority", &which.host)];
    let mut wanted = Map::from_iter([("key".to_owned(), json!(key))]);
    wanted.extend(
        sent.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))),
    );
    client.call(&Method::POST, "/api/records/find", Some(&Value::Object(wanted))).await
}

fn settlement(settle: &SettleArgs) -> Result<Value, KeysError> {
    let says_answer = settle.status.is_some() || settle.body.is_some() || !settle.header.is_empty();
    match settle.outcome {
        Outcome::Executed => Ok(json!({
            "outcome": "executed",
            "status": settle.status.unwrap_or(200),
            "headers": settle.header,
            "body_base64": STANDARD.encode(body(settle.body.as_deref().unwrap_or(""))?),
        })),
        Outcome::NotExecuted if says_answer => Err(KeysError::AnswerWithoutEffect),
        Outcome::NotExecuted => Ok(json!({"outcome": "not-executed"})),
    }
}

/// The text itself, or the content of `@FILE`.
fn body(text: &str) -> Result<Vec<u8>, KeysError> {
    use std::io::Read as _;

    let Some(path) = text.strip_prefix('@') else { return Ok(text.as_bytes().to_vec()) };
    let mut body = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BODY_BYTES_MAX + 1).read_to_end(&mut body))
        .map_err(|source| KeysError::Body { path: path.to_owned(), source })?;
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(KeysError::BodyTooLarge { path: path.to_owned() });
    }
    Ok(body)
}
