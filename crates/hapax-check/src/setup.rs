//! Turns flags into a target: connects, starts the layer, and finds out what it speaks and offers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::args::CheckArgs;
use crate::port::Reserved;
use crate::process::{Placeholders, Process};
use crate::target::{Api, Effects, Instance, Layer, RouteSet, Target};
use crate::trial::{ALICE, Log, Wire};
use crate::upstream::Upstream;
use crate::wire::h2::Connection2;
use crate::wire::{Answer, Body, Endpoint, Request};

/// The target of these flags, ready to be measured; an error is a sentence.
pub(crate) async fn target(args: &CheckArgs) -> Result<Target, String> {
    match &args.url {
        Some(url) => Ok(Target::Api(Arc::new(api(args, url)?))),
        None => Ok(Target::Layer(Arc::new(layer(args).await?))),
    }
}

fn api(args: &CheckArgs, url: &str) -> Result<Api, String> {
    let endpoint = Endpoint::parse(url, args.ca_cert.as_deref())?;
    let body = args.body.as_deref().map(content).transpose()?;
    let mut request = Request::new(&args.method, &endpoint.path)
        .with("Host", endpoint.authority())
        .with("User-Agent", "hapax-check");
    for (name, value) in fields(&args.header, "--header")? {
        request = request.with(&name, value);
    }
    if let Some(body) = &body {
        let named = !crate::wire::head::all(&request.fields, "content-type").is_empty();
        if !named && serde_json::from_slice::<Value>(body).is_ok() {
            request = request.with("Content-Type", "application/json");
        }
        request.body = Body::Length(body.clone());
    }
    let other_body = match &args.other_body {
        Some(text) => Some(content(text)?),
        None => body.as_ref().and_then(|body| varied(body)),
    };
    let effects = match &args.effects_url {
        Some(url) => Some(Effects {
            endpoint: Endpoint::parse(url, args.ca_cert.as_deref())?,
            pointer: args.effects_pointer.clone(),
            fields: fields(&args.header, "--header")?
                .into_iter()
                .map(|(name, value)| (name, value.into_bytes()))
                .collect(),
        }),
        None => None,
    };
    Ok(Api {
        endpoint,
        request,
        other_body,
        other_caller: fields(&args.other_header, "--other-header")?,
        effects,
        key_field: args.key_header.clone(),
        bare: OnceLock::new(),
        sent: AtomicU32::new(0),
    })
}

/// Reads `TEXT` or `@FILE`.
fn content(text: &str) -> Result<Bytes, String> {
    match text.strip_prefix('@') {
        Some(path) => std::fs::read(path)
            .map(Bytes::from)
            .map_err(|error| format!("--body @{path} could not be read: {error}")),
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// Another payload of the same shape: a number, a text or a truth value is changed.
fn varied(body: &[u8]) -> Option<Bytes> {
    let mut json: Value = serde_json::from_slice(body).ok()?;
    let object = json.as_object_mut()?;
    let number = object.values_mut().find(|value| value.is_i64() || value.is_u64());
    if let Some(value) = number {
        *value = serde_json::json!(value.as_i64().unwrap_or(0).wrapping_add(1));
    } else if let Some(value) = object.values_mut().find(|value| value.is_string()) {
        *value = serde_json::json!(format!("{} (other)", value.as_str().unwrap_or_default()));
    } else {
        object.insert("hapax_check".to_owned(), serde_json::json!("other"));
    }
    serde_json::to_vec(&json).ok().map(Bytes::from)
}

fn fields(lines: &[String], flag: &str) -> Result<Vec<(String, String)>, String> {
    lines
        .iter()
        .map(|line| match line.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(format!("{flag} {line:?} is no field: give it as 'Name: value'")),
        })
        .collect()
}

async fn layer(args: &CheckArgs) -> Result<Layer, String> {
    let routes = RouteSet::parse(&args.profile_routes)?;
    let default = if args.command.is_some() { "127.0.0.1:0" } else { "127.0.0.1:3000" };
    let listen = args.upstream_listen.as_deref().unwrap_or(default);
    let upstream = Upstream::listen(listen)
        .await
        .map_err(|error| format!("--upstream-listen {listen:?} could not be bound: {error}"))?;
    let work = tempfile::Builder::new()
        .prefix("hapax-check-")
        .tempdir()
        .map_err(|error| format!("no temporary folder could be made: {error}"))?;
    let instances = match &args.command {
        Some(command) => start(args, command, &upstream, work.path()).await?,
        None => {
            let endpoints =
                args.layer.iter().map(|url| Endpoint::parse(url, args.ca_cert.as_deref()));
            endpoints
                .map(|endpoint| Ok(Instance { endpoint: endpoint?, process: None, output: None }))
                .collect::<Result<Vec<_>, String>>()?
        }
    };
    reach(&instances).await?;
    let http2 = Connection2::open(&instances[0].endpoint).await.is_ok();
    let policy = policy(&instances[0].endpoint).await;
    let mut offers = args.offers.clone();
    offers.extend(offered(policy.as_ref()));
    let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let durable = !args.volatile;
    Ok(Layer { instances, upstream, routes, http2, durable, offers, run, work })
}

async fn start(
    args: &CheckArgs,
    command: &str,
    upstream: &Upstream,
    work: &Path,
) -> Result<Vec<Instance>, String> {
    let mut instances = Vec::new();
    for number in 0..if args.two { 2 } else { 1 } {
        let mut reserved = vec![reserve()?];
        let admin = reserved[0].address.to_string();
        let url = match args.layer.get(number) {
            Some(url) => url.clone(),
            None => {
                reserved.push(reserve()?);
                format!("http://{}", reserved[1].address)
            }
        };
        let endpoint = Endpoint::parse(&url, args.ca_cert.as_deref())?;
        let store_dir = Layer::store_dir(work);
        let places = Placeholders {
            listen: format!("{}:{}", endpoint.host, endpoint.port),
            upstream: upstream.address.to_string(),
            admin,
            config: work.join(format!("layer-{number}.toml")),
            store_dir,
        };
        let output = work.join(format!("layer-{number}.log"));
        let mut process = Process::prepare(command, places, output, reserved)?;
        process.start().await?;
        let output = Some(process.output().to_owned());
        let process = Some(tokio::sync::Mutex::new(process));
        instances.push(Instance { endpoint, process, output });
    }
    Ok(instances)
}

fn reserve() -> Result<Reserved, String> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Reserved::at(any).map_err(|error| format!("no free port: {error}"))
}

/// A request through every instance must get an answer before anything is judged.
async fn reach(instances: &[Instance]) -> Result<(), String> {
    for instance in instances {
        let mut last = String::new();
        let mut reached = false;
        for _ in 0..50 {
            match get(&instance.endpoint, "/check/reach").await {
                Ok(_) => {
                    reached = true;
                    break;
                }
                Err(error) => last = error,
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if !reached {
            return Err(format!(
                "--layer http://{} gave no answer: {last}",
                instance.endpoint.authority()
            ));
        }
    }
    Ok(())
}

async fn policy(endpoint: &Endpoint) -> Option<Value> {
    let answer = get(endpoint, "/.well-known/idempotency").await.ok()?;
    if answer.status == 200 { answer.json() } else { None }
}

async fn get(endpoint: &Endpoint, path: &str) -> Result<Answer, String> {
    let request = Request::new("GET", path)
        .with("Host", endpoint.authority())
        .with("Authorization", ALICE)
        .with("Connection", "close");
    let mut wire = Wire::open(endpoint, Log::default()).await.map_err(|error| error.to_string())?;
    wire.send(&request).await;
    wire.read("GET").await.map_err(|error| error.to_string())
}

/// What a policy document offers: the names in its member `offers`, and the features that its
/// `routes` show by their settings.
fn offered(policy: Option<&Value>) -> Vec<String> {
    let list =
        |name: &str| policy.and_then(|policy| policy.get(name)).and_then(Value::as_array).cloned();
    let named = list("offers").unwrap_or_default();
    let mut offers: Vec<String> =
        named.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    for route in list("routes").unwrap_or_default() {
        let says = |name: &str, value: &str| {
            let found = route.get(name).and_then(Value::as_str);
            found.is_some_and(|found| found.split(':').next() == Some(value))
        };
        let shown = [
            (says("unknown", "re-execute"), "re-execute"),
            (says("unknown", "probe"), "probe"),
            (says("fingerprint", "json"), "json-fingerprint"),
            (says("key-source", "body"), "body-key"),
            (says("key-source", "issued"), "issued-key"),
        ];
        offers.extend(shown.iter().filter(|(shown, _)| *shown).map(|(_, name)| (*name).to_owned()));
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_payload_keeps_the_shape() {
        let other = varied(b"{\"item\":\"chair\",\"amount\":100}").unwrap();
        assert_eq!(other, "{\"item\":\"chair\",\"amount\":101}");
        assert_eq!(varied(b"{\"item\":\"chair\"}").unwrap(), "{\"item\":\"chair (other)\"}");
        assert!(varied(b"plain").is_none());
    }

    #[test]
    fn field_without_a_colon_is_refused_with_its_flag() {
        assert!(fields(&["X".to_owned()], "--header").unwrap_err().contains("--header"));
    }

    #[test]
    fn offers_are_read_from_names_and_from_routes() {
        let policy = serde_json::json!({
            "offers": ["outcome-header"],
            "routes": [
                {"match": "/a/**", "unknown": "probe", "key-source": "header:Idempotency-Key"},
                {"match": "/b/**", "unknown": "hold", "key-source": "body:/id"},
            ],
        });
        assert_eq!(offered(Some(&policy)), ["outcome-header", "probe", "body-key"]);
        assert!(offered(None).is_empty());
    }
}
