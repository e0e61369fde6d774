//! The layer profile: which path prefix a layer is configured with for which behaviour.

/// A prefix of the layer profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The key stands in the request's content.
    BodyKey,
    /// Duplicates wait a second at most.
    BriefWait,
    /// Set-Cookie is replayed.
    Cookies,
    /// Keys are issued by the layer.
    Issued,
    /// JSON is compared by meaning.
    Json,
    /// The claim's lease is one second, duplicates are told at once.
    Lease,
    /// No protection at all.
    Off,
    /// Every default.
    Plain,
    /// The layer asks the upstream how an unknown outcome ended.
    Probe,
    /// PUT and DELETE are protected as well.
    Put,
    /// An unknown outcome is run a second time.
    ReExecute,
    /// Duplicates are told at once.
    Reject,
    /// A key is required.
    Required,
    /// Every 5xx frees the key.
    Retry5xx,
    /// Results are kept for two seconds.
    Short,
    /// Bodies of both directions are limited to 4 KiB.
    Small,
    /// Every complete answer is kept.
    StoreAll,
    /// The preset for money.
    Strict,
    /// Only quoted keys.
    StrictSyntax,
    /// Only 2xx answers are kept.
    SuccessOnly,
    /// The upstream has one second; its late answer is awaited for five.
    Timeout,
}

/// One line of the profile: prefix, settings and what they are for.
#[derive(Clone, Copy, Debug)]
pub struct RouteRow {
    /// The prefix this row is about.
    pub route: Route,
    /// Its name, as `--profile-routes` takes it.
    pub name: &'static str,
    /// Settings in the words of `hapax.toml`.
    pub settings: &'static [(&'static str, &'static str)],
    /// The behaviour in a sentence, for layers that are configured otherwise.
    pub meaning: &'static str,
}

const fn row(
    route: Route,
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    meaning: &'static str,
) -> RouteRow {
    RouteRow { route, name, settings, meaning }
}

/// Every prefix of the profile. The address of the upstream stands as `{upstream}`.
pub const ROUTES: &[RouteRow] = &[
    row(Route::Plain, "plain", &[], "every default"),
    row(
        Route::Required,
        "required",
        &[("key", "\"required\"")],
        "a request without a key is refused",
    ),
    row(
        Route::StrictSyntax,
        "strict-syntax",
        &[("key", "\"required\""), ("syntax", "\"strict\"")],
        "only quoted keys are accepted",
    ),
    row(
        Route::Strict,
        "strict",
        &[("failures", "\"strict\"")],
        "500 is kept, 503 without Retry-After is an unknown outcome",
    ),
    row(
        Route::StoreAll,
        "store-all",
        &[("failures", "\"store-all\"")],
        "every complete answer is kept",
    ),
    row(Route::Retry5xx, "retry-5xx", &[("failures", "\"retry-5xx\"")], "every 5xx frees the key"),
    row(
        Route::SuccessOnly,
        "success-only",
        &[("failures", "\"success-only\"")],
        "only 2xx answers are kept",
    ),
    row(
        Route::Reject,
        "reject",
        &[("concurrent", "\"reject\"")],
        "a duplicate of a running request is refused at once",
    ),
    row(
        Route::BriefWait,
        "brief-wait",
        &[("wait", "\"1s\"")],
        "a duplicate of a running request waits one second, then is refused",
    ),
    row(Route::Short, "short", &[("retention", "\"2s\"")], "results are kept for two seconds"),
    row(
        Route::Timeout,
        "timeout",
        &[("upstream_timeout", "\"1s\""), ("late_answer", "\"5s\""), ("concurrent", "\"reject\"")],
        "the upstream has one second to answer; an answer within five more still settles the key",
    ),
    row(
        Route::Lease,
        "lease",
        &[("lease", "\"1s\""), ("concurrent", "\"reject\"")],
        "a claim lapses one second after its owner stopped renewing it",
    ),
    row(
        Route::Small,
        "small",
        &[("request_body_max", "\"4KiB\""), ("response_body_max", "\"4KiB\"")],
        "bodies of protected requests and of kept answers are limited to 4 KiB",
    ),
    row(Route::Off, "off", &[("key", "\"off\"")], "no protection; a key passes through untouched"),
    row(
        Route::Json,
        "json",
        &[("fingerprint", "\"json\"")],
        "JSON bodies are compared by meaning instead of by bytes",
    ),
    row(Route::Cookies, "cookies", &[("set_cookie", "true")], "Set-Cookie is replayed"),
    row(
        Route::Put,
        "put",
        &[("methods", "[\"POST\", \"PATCH\", \"PUT\", \"DELETE\"]")],
        "PUT and DELETE are protected as well",
    ),
    row(
        Route::ReExecute,
        "re-execute",
        &[
            ("unknown", "\"re-execute\""),
            ("upstream_honours_key", "true"),
            ("upstream_timeout", "\"1s\""),
            ("late_answer", "\"1s\""),
            ("lease", "\"1s\""),
            ("concurrent", "\"reject\""),
        ],
        "an unknown outcome is run once more, two attempts in all",
    ),
    row(
        Route::Probe,
        "probe",
        &[
            ("unknown", "\"probe\""),
            ("probe_url", "\"http://{upstream}/check-probe\""),
            ("upstream_timeout", "\"1s\""),
            ("late_answer", "\"1s\""),
            ("lease", "\"1s\""),
            ("concurrent", "\"reject\""),
        ],
        "the upstream is asked at /check-probe how an unknown outcome ended",
    ),
    row(
        Route::BodyKey,
        "body-key",
        &[("key_source", "\"body:/request_id\""), ("key", "\"required\"")],
        "the member request_id of the JSON body is the key",
    ),
    row(
        Route::Issued,
        "issued",
        &[("key_source", "\"issued\""), ("key", "\"required\"")],
        "only keys issued by the layer are accepted",
    ),
];

impl Route {
    /// The row of the profile that describes this prefix.
    pub fn row(self) -> &'static RouteRow {
        ROUTES.iter().find(|row| row.route == self).unwrap_or(&ROUTES[0])
    }

    /// The path prefix, without a slash at its end.
    pub fn prefix(self) -> String {
        format!("/check/{}", self.row().name)
    }
}

/// A complete `hapax.toml` for the layer profile. `upstream` and `listen` are `HOST:PORT`, `store`
/// is a store's URL, `admin` the address of the admin listener, where there is one.
///
/// ```
/// let toml = hapax_check::layer_profile_toml(
///     "127.0.0.1:3000", "127.0.0.1:8080", "file:./hapax-data", None);
/// assert!(toml.contains("match = \"/check/required/**\""));
/// ```
pub fn layer_profile_toml(
    upstream: &str,
    listen: &str,
    store: &str,
    admin: Option<&str>,
) -> String {
    let mut toml =
        format!("listen = \"{listen}\"\nupstream = \"http://{upstream}\"\nstore = \"{store}\"\n");
    if let Some(admin) = admin {
        toml.push_str(&format!("\n[admin]\nlisten = \"{admin}\"\n"));
    }
    for row in ROUTES {
        toml.push_str(&format!(
            "\n# {}\n[[route]]\nmatch = \"/check/{}/**\"\n",
            row.meaning, row.name
        ));
        for (name, value) in row.settings {
            let value = value.replace("{upstream}", upstream);
            toml.push_str(&format!("{name} = {value}\n"));
        }
    }
    toml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_has_a_row_of_its_own() {
        for (at, row) in ROUTES.iter().enumerate() {
            assert_eq!(row.route.row().name, row.name);
            assert!(ROUTES[at + 1..].iter().all(|other| other.name != row.name));
        }
    }

    #[test]
    fn profile_names_the_upstream_where_it_is_asked() {
        let toml = layer_profile_toml("127.0.0.1:1", "127.0.0.1:2", "memory:", Some("127.0.0.1:3"));
        assert!(toml.contains("probe_url = \"http://127.0.0.1:1/check-probe\""));
        assert!(toml.contains("[admin]\nlisten = \"127.0.0.1:3\""));
    }
}
