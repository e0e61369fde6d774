//! From laid-over tables to types.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::check::{self, Found};
use super::error::{ConfigError, ConfigErrors};
use super::gateway::{Config, StoreSettings};
use super::layers::{Layers, SECTIONS, Section, defaults, merged, routes, section, stated_route};
use super::place::Place;
use super::route::RouteConfig;
use super::suggest::{nearest, settings_of};
use crate::route::Pattern;

/// The settings as types, or everything that is wrong with them.
pub(super) fn config(layers: &Layers) -> Result<Config, ConfigErrors> {
    let mut reader = Reader { layers, errors: Vec::new() };
    let settings = reader.known_only();
    let gateway = reader.gateway(&settings);
    let mut all = Vec::new();
    let catch_all = reader.catch_all(&settings);
    for (i, own) in routes(&settings).iter().enumerate() {
        all.extend(reader.route(i, own, &settings, catch_all.as_ref()));
    }
    all.extend(catch_all.map(|mut route| {
        route.matching = Pattern::catch_all();
        route
    }));
    let config = gateway.map(|gateway| Config { routes: all, ..gateway });
    if let Some(config) = &config {
        reader.check(config);
    }
    ConfigErrors::check(reader.errors)?;
    // Nothing was found, so everything was read.
    config.ok_or_else(|| layers.error(&Place::top(), "the settings are incomplete").into())
}

/// What concerns the store alone.
pub(super) fn store(layers: &Layers) -> Result<StoreSettings, ConfigErrors> {
    let mut reader = Reader { layers, errors: Vec::new() };
    let settings = reader.known_only();
    let mut table = complete_gateway(&settings);
    table.retain(|key, _| settings_of::<StoreSettings>().contains(&key));
    let read = reader.typed(table, &Place::top());
    ConfigErrors::check(reader.errors)?;
    read.ok_or_else(|| layers.error(&Place::top(), "the settings are incomplete").into())
}

struct Reader<'a> {
    layers: &'a Layers,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    /// The settings without those that do not exist, which are reported.
    fn known_only(&mut self) -> Table {
        let mut settings = self.layers.filled.clone();
        let top = Place::top();
        let known = [settings_of::<Config>(), &["defaults", "route"]].concat();
        self.keep_known(&mut settings, &top, &known);
        let route = settings_of::<RouteConfig>();
        let every_route: Vec<_> = route.iter().copied().filter(|key| *key != "match").collect();
        let sections = SECTIONS.iter().map(|section| (section.name, (section.settings)()));
        for (key, known) in sections.chain([("defaults", &*every_route)]) {
            match settings.get_mut(key) {
                Some(Value::Table(table)) => self.keep_known(table, &top.key(key), known),
                Some(_) => {
                    let complaint = format!("is not a table; write a section [{key}]");
                    self.errors.push(self.layers.error(&top.key(key), &complaint));
                    settings.remove(key);
                }
                None => {}
            }
        }
        let place = top.key("route");
        match settings.get_mut("route") {
            Some(Value::Array(all)) if all.iter().all(Value::is_table) => {
                for (i, table) in all.iter_mut().filter_map(Value::as_table_mut).enumerate() {
                    self.keep_known(table, &place.index(i), route);
                }
            }
            Some(_) => {
                let complaint = "is not a list of tables; begin every route with [[route]]";
                self.errors.push(self.layers.error(&place, complaint));
                settings.remove("route");
            }
            None => {}
        }
        settings
    }

    fn keep_known(&mut self, table: &mut Table, place: &Place, known: &[&str]) {
        table.retain(|key, _| {
            if known.contains(&key) {
                return true;
            }
            let complaint = not_here(key, place, known);
            self.errors.push(self.layers.error_without_value(&place.key(key), &complaint));
            false
        });
    }

    fn gateway(&mut self, settings: &Table) -> Option<Config> {
        self.typed(complete_gateway(settings), &Place::top())
    }

    fn catch_all(&mut self, settings: &Table) -> Option<RouteConfig> {
        let mut table = complete_route(settings, &Table::new());
        table.insert("match".to_owned(), Value::String("/**".to_owned()));
        self.typed(table, &Place::top().key("defaults"))
    }

    fn route(
        &mut self,
        index: usize,
        own: &Table,
        settings: &Table,
        catch_all: Option<&RouteConfig>,
    ) -> Option<RouteConfig> {
        let place = Place::top().key("route").index(index);
        // What is wrong with [defaults] was said there; it must not be said again for each route.
        let under = if catch_all.is_some() { settings } else { &Table::new() };
        self.typed(complete_route(under, own), &place)
    }

    fn typed<T: DeserializeOwned>(&mut self, table: Table, place: &Place) -> Option<T> {
        let error = match serde_path_to_error::deserialize(Value::Table(table)) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let place = place.follow(error.path());
        let message = error.inner().message();
        let missing = message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`'));
        self.errors.push(match missing {
            Some("upstream") => self.layers.error(
                &place.key("upstream"),
                "is not set; say what to protect with --upstream http://HOST:PORT, \
                 HAPAX_UPSTREAM or a line in the file",
            ),
            Some(key) => self.layers.error(&place.key(key), "is not set; add it"),
            None => self.layers.error(&place, complaint(message)),
        });
        None
    }

    fn check(&mut self, config: &Config) {
        for Found { setting, complaint } in check::gateway(config) {
            let place = setting.split('.').fold(Place::top(), |place, key| place.key(key));
            self.errors.push(self.layers.error(&place, &complaint));
        }
        let Some((catch_all, routes)) = config.routes.split_last() else { return };
        let everywhere = check::route(catch_all, config);
        for (i, route) in routes.iter().enumerate() {
            let place = Place::top().key("route").index(i);
            for found in check::route(route, config) {
                // As above: what comes from [defaults] is said once.
                if !everywhere.contains(&found) {
                    let error = self.layers.error(&place.key(found.setting), &found.complaint);
                    self.errors.push(error);
                }
            }
        }
        for Found { setting, complaint } in everywhere {
            let place = Place::top().key("defaults").key(setting);
            self.errors.push(self.layers.error(&place, &complaint));
        }
    }
}

/// Everything but the routes, with what holds where nothing is said.
fn complete_gateway(settings: &Table) -> Table {
    let defaults = defaults();
    let mut table = merged(&defaults, settings);
    for Section { name: key, .. } in SECTIONS {
        if defaults.contains_key(key) {
            let complete = merged(&section(&defaults, key), &section(settings, key));
            table.insert(key.to_owned(), Value::Table(complete));
        }
    }
    table.remove("defaults");
    table.remove("route");
    table
}

fn complete_route(settings: &Table, own: &Table) -> Table {
    merged(&section(&defaults(), "defaults"), &stated_route(settings, own))
}

/// Our own messages are complaints already; those of the deserializer say the type at their end.
fn complaint(message: &str) -> &str {
    match message.split_once(", expected ") {
        Some((start, expected)) if start.starts_with("invalid type: ") => expected,
        Some(_) | None => message,
    }
}

/// What to say of a name that is no setting of this table.
fn not_here(key: &str, place: &Place, known: &[&str]) -> String {
    let of_routes = settings_of::<RouteConfig>().contains(&key) && key != "match";
    let of_the_gateway = settings_of::<Config>().contains(&key);
    if *place == Place::top() && of_routes {
        return "is a setting of routes; write it under [defaults] or a [[route]]".to_owned();
    }
    if key == "match" {
        return "is a setting of a single route; write it under a [[route]]".to_owned();
    }
    if *place != Place::top() && of_the_gateway {
        return "is a setting of the gateway; write it above the first section".to_owned();
    }
    match nearest(key, known) {
        Some(meant) => format!("is not a setting; write {meant:?} if that was meant"),
        None => "is not a setting; take it out".to_owned(),
    }
}
