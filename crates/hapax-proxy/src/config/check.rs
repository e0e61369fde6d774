//! What only shows when settings are seen together, and the bounds of durations.

use std::time::Duration;

use super::gateway::Config;
use super::policy::{KeyMode, Unknown};
use super::route::RouteConfig;
use super::setting::Setting as _;
use super::source::PrincipalSource;
use super::store::StoreConfig;
use super::units::show_duration;

/// One thing wrong, with the name of the setting and a complaint that goes on from its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) setting: &'static str,
    pub(super) complaint: String,
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What is wrong beyond a single route.
pub(super) fn gateway(config: &Config) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(between("store_timeout", config.store_timeout, MILLISECOND, HOUR));
    found.extend(between("drain", config.drain, Duration::ZERO, DAY));
    found.extend(between(
        "upstream_connect_timeout",
        config.upstream_connect_timeout,
        MILLISECOND,
        HOUR,
    ));
    found.extend(between(
        "upstream_idle_timeout",
        config.upstream_idle_timeout,
        Duration::ZERO,
        DAY,
    ));
    found.extend(problem_base(&config.problem_base));
    found.extend(config.cors_origins.iter().find_map(|origin| cors_origin(origin)));
    found.extend(admin(config));
    found.extend(listen_url(config));
    found.extend(names(config));
    found
}

/// What is wrong with one route.
pub(super) fn route(route: &RouteConfig, config: &Config) -> Vec<Found> {
    let mut found = Vec::new();
    if route.methods.is_empty() {
        found.push(Found {
            setting: "methods",
            complaint: "names no method; write key = \"off\" for a route without protection"
                .to_owned(),
        });
    }
    // A lease shorter than this could not be renewed in time over a slow store.
    found.extend(between("lease", route.lease, SECOND, HOUR));
    // Longer than any client, balancer or browser waits for a byte.
    found.extend(between("wait", route.wait, Duration::ZERO, Duration::from_secs(300)));
    found.extend(between("upstream_timeout", route.upstream_timeout, MILLISECOND, DAY));
    found.extend(between("late_answer", route.late_answer, Duration::ZERO, DAY));
    if route.max_attempts > 100 {
        found.push(Found {
            setting: "max_attempts",
            complaint: "is too many; write a number from 1 to 100".to_owned(),
        });
    }
    found.extend(unknown(route, config));
    if matches!(route.principal, PrincipalSource::Jwt(_)) && config.jwt.is_none() {
        found.push(Found {
            setting: "principal",
            complaint: "needs keys to verify tokens with; add a section [jwt] with jwks".to_owned(),
        });
    }
    found
}

fn unknown(route: &RouteConfig, config: &Config) -> Option<Found> {
    let complaint = match route.unknown {
        Unknown::ReExecute if !route.upstream_honours_key => {
            "needs an upstream that itself runs a key once; set upstream_honours_key = true if \
             it does, or unknown = \"hold\""
        }
        Unknown::ReExecute if route.max_attempts < 2 => {
            "needs a second attempt; set max_attempts to 2 or more, or unknown = \"hold\""
        }
        Unknown::Probe if route.probe_url.is_none() => {
            "needs somebody to ask; set probe_url, or unknown = \"hold\""
        }
        Unknown::Transactional if !matches!(config.store, StoreConfig::Postgres(_)) => {
            "needs the upstream's own database as store; set store = \"postgres://...\", or \
             unknown = \"hold\""
        }
        Unknown::Hold | Unknown::Probe | Unknown::ReExecute | Unknown::Transactional => {
            return None;
        }
    };
    // A route that protects nothing has no outcome to be unknown.
    (route.key != KeyMode::Off)
        .then(|| Found { setting: "unknown", complaint: complaint.to_owned() })
}

fn between(setting: &'static str, value: Duration, min: Duration, max: Duration) -> Option<Found> {
    let problem = match value {
        value if value < min => "is too short",
        value if value > max => "is too long",
        _ => return None,
    };
    let (min, max) = (show_duration(min), show_duration(max));
    let complaint = format!("{problem}; write a duration from \"{min}\" to \"{max}\"");
    Some(Found { setting, complaint })
}

fn problem_base(base: &str) -> Option<Found> {
    let absolute = base.starts_with("https://") || base.starts_with("http://");
    let placed = absolute || (base.starts_with('/') && !base.starts_with("//"));
    let usable = base.parse::<http::Uri>().is_ok() && !base.contains(['?', '#']);
    if placed && usable && !base.ends_with('/') {
        return None;
    }
    Some(Found {
        setting: "problem_base",
        complaint: "cannot stand before a problem's name; write a path such as \
                    \"/problems\" or an http or https address, without a slash at the end"
            .to_owned(),
    })
}

fn cors_origin(origin: &str) -> Option<Found> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let exact = host.is_some_and(|host| {
        !host.contains(['/', '?', '#', '@', '*']) && host.parse::<http::uri::Authority>().is_ok()
    });
    (origin != "*" && !exact).then(|| Found {
        setting: "cors_origins",
        complaint: "holds what is not an origin; write \"*\" or scheme and host such as \
                    \"https://shop.example\""
            .to_owned(),
    })
}

fn listen_url(config: &Config) -> Option<Found> {
    let url = config.postgres.listen_url.as_ref()?;
    let complaint = match StoreConfig::read(url.reveal()) {
        Ok(StoreConfig::Postgres(_)) => return None,
        Ok(StoreConfig::File(_) | StoreConfig::Memory | StoreConfig::Redis(_)) => {
            "is no PostgreSQL server".to_owned()
        }
        Err(problem) => problem,
    };
    let complaint = format!("{complaint}; write \"postgres://USER:PASSWORD@HOST:PORT/DATABASE\"");
    Some(Found { setting: "postgres.listen_url", complaint })
}

/// The names that the stores take; they look again as they open.
fn names(config: &Config) -> Vec<Found> {
    const BYTES_MAX: usize = 40;
    let has =
        |name: &str, legal: fn(u8) -> bool| name.bytes().all(legal) && name.len() <= BYTES_MAX;
    let (schema, prefix) = (&config.postgres.schema, &config.redis.prefix);
    let mut found = Vec::new();
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !has(schema, lower) || schema.starts_with(|first: char| first.is_ascii_digit()) {
        found.push(Found {
            setting: "postgres.schema",
            complaint: "is no name for a schema; write up to 40 lower-case letters, digits and \
                        \"_\", the first no digit"
                .to_owned(),
        });
    }
    if !has(prefix, |b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b)) {
        found.push(Found {
            setting: "redis.prefix",
            complaint: "cannot stand in the name of a key; write up to 40 letters, digits, \"_\", \
                        \"-\", \".\" and \":\""
                .to_owned(),
        });
    }
    found
}

fn admin(config: &Config) -> Option<Found> {
    let admin = &config.admin;
    let found = |setting, complaint: &str| Some(Found { setting, complaint: complaint.to_owned() });
    if !admin.listen.ip().is_loopback() && admin.token.is_none() {
        return found(
            "admin.listen",
            "is open to other machines; set a token under [admin] (or HAPAX_ADMIN_TOKEN), or \
             listen on 127.0.0.1",
        );
    }
    if admin.listen == config.listen && admin.listen.port() != 0 {
        return found("admin.listen", "is taken by listen; choose another port");
    }
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if admin.token.as_ref().is_some_and(|token| !visible(token.reveal())) {
        return found(
            "admin.token",
            "has a space or a character that a header cannot carry; use letters and digits",
        );
    }
    let is_name = |host: &String| {
        host.parse::<http::uri::Authority>().is_ok_and(|name| name.host() == host.as_str())
            && !host.bytes().any(|byte| byte.is_ascii_uppercase())
    };
    if !admin.hosts.iter().all(is_name) {
        return found(
            "admin.hosts",
            "holds what is not a host name; write names in lower case without scheme or port, \
             such as \"hapax.internal\"",
        );
    }
    None
}
