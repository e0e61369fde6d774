//! What is measured: a layer with our upstream behind it, or an API as it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use crate::case::{Case, Need};
use crate::process::Process;
use crate::profile::{ROUTES, Route};
use crate::upstream::Upstream;
use crate::wire::{Endpoint, Request};

/// Which prefixes of the layer profile the layer is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteSet {
    All,
    Named(Vec<String>),
}

impl RouteSet {
    /// `all`, `none` or names with commas between them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let names: Vec<String> = match text {
            "all" => return Ok(Self::All),
            "none" => Vec::new(),
            list => list.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        match names.iter().find(|name| ROUTES.iter().all(|row| row.name != **name)) {
            Some(name) => Err(format!(
                "--profile-routes {text:?} names {name:?}, which is no prefix of the profile: give \
                 all, none or some of {}",
                ROUTES.iter().map(|row| row.name).collect::<Vec<_>>().join(",")
            )),
            None => Ok(Self::Named(names)),
        }
    }

    pub(crate) fn has(&self, route: Route) -> bool {
        match self {
            Self::All => true,
            // Plain stands for the defaults and needs no configuration.
            Self::Named(names) => {
                route == Route::Plain || names.iter().any(|name| name == route.row().name)
            }
        }
    }
}

/// One instance of the layer.
#[derive(Debug)]
pub(crate) struct Instance {
    pub endpoint: Endpoint,
    pub process: Option<tokio::sync::Mutex<Process>>,
    /// Where the layer writes its output, when the checker started it.
    pub output: Option<PathBuf>,
}

/// A layer under test, with everything around it.
#[derive(Debug)]
pub(crate) struct Layer {
    pub instances: Vec<Instance>,
    pub upstream: Upstream,
    pub routes: RouteSet,
    pub http2: bool,
    pub durable: bool,
    /// What the target says that it offers.
    pub offers: Vec<String>,
    /// Distinguishes this run's keys from every other run's.
    pub run: String,
    /// Holds configuration, logs and stores of started layers until the run is over.
    #[expect(dead_code, reason = "held for its destructor, which removes the folder")]
    pub work: TempDir,
}

impl Layer {
    pub(crate) fn store_dir(work: &Path) -> PathBuf {
        work.join("store")
    }
}

/// An API under test.
#[derive(Debug)]
pub(crate) struct Api {
    pub endpoint: Endpoint,
    /// The request to repeat, without a key.
    pub request: Request,
    /// The same operation with another payload.
    pub other_body: Option<bytes::Bytes>,
    /// Fields of a second caller; they replace the first caller's of the same name.
    pub other_caller: Vec<(String, String)>,
    pub effects: Option<Effects>,
    /// The name of the key's field.
    pub key_field: String,
    /// Whether keys are sent bare, found out by the first case.
    pub bare: OnceLock<bool>,
    pub sent: AtomicU32,
}

/// How effects are counted.
#[derive(Clone, Debug)]
pub(crate) struct Effects {
    pub endpoint: Endpoint,
    pub pointer: String,
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Api {
    pub(crate) fn count_request(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is measured.
#[derive(Debug)]
pub(crate) enum Target {
    Api(Arc<Api>),
    Layer(Arc<Layer>),
}

impl Target {
    /// The first need of a case that this target does not meet, as the reason to skip it.
    pub(crate) fn lacks(&self, case: &Case) -> Option<String> {
        case.needs.iter().find_map(|need| match self {
            Self::Api(api) => api_lacks(api, *need),
            Self::Layer(layer) => layer_lacks(layer, *need),
        })
    }
}

fn api_lacks(api: &Api, need: Need) -> Option<String> {
    let reason = match need {
        Need::Effects if api.effects.is_none() => "no --effects-url to count effects with",
        Need::OtherBody if api.other_body.is_none() => {
            "no other payload: the body is no JSON object; give --other-body"
        }
        Need::OtherCaller if api.other_caller.is_empty() => {
            "no second caller's credentials: give --other-header"
        }
        Need::Effects | Need::OtherBody | Need::OtherCaller => return None,
        Need::Command
        | Need::Durable
        | Need::Http2
        | Need::Offer(_)
        | Need::Route(_)
        | Need::Two => "only judged in layer mode",
    };
    Some(reason.to_owned())
}

fn layer_lacks(layer: &Layer, need: Need) -> Option<String> {
    match need {
        Need::Command if layer.instances[0].process.is_none() => {
            Some("the checker did not start the layer: give --command".to_owned())
        }
        Need::Durable if !layer.durable => {
            Some("the layer's store does not outlive its process (--volatile)".to_owned())
        }
        Need::Http2 if !layer.http2 => {
            Some("the layer does not speak HTTP/2 with prior knowledge".to_owned())
        }
        Need::Offer(feature) if !layer.offers.iter().any(|offer| offer == feature) => {
            Some(format!(
                "the target does not say that it offers {feature:?} (policy document or --offers)"
            ))
        }
        Need::Route(route) if !layer.routes.has(route) => Some(format!(
            "the layer is not configured with {}/** ({})",
            route.prefix(),
            route.row().meaning
        )),
        Need::Two if layer.instances.len() < 2 => {
            Some("one instance only: give --two, or --layer twice".to_owned())
        }
        Need::Command
        | Need::Durable
        | Need::Effects
        | Need::Http2
        | Need::Offer(_)
        | Need::OtherBody
        | Need::OtherCaller
        | Need::Route(_)
        | Need::Two => None,
    }
}
