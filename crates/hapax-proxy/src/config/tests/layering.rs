use std::io::Write as _;

use super::*;

const FILE: &str = "upstream = \"http://file:1\"\nstore = \"file:./file\"\ndrain = \"1s\"\n";

fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn flag(setting: &'static str, flag: &'static str, text: &str) -> Override {
    Override { setting, flag, text: text.to_owned() }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file = file(FILE);
    let environment = env(&[("HAPAX_UPSTREAM", "http://variable:2"), ("HAPAX_STORE", "memory:")]);
    let config = Config::load(&Sources {
        file: Some(file.path().to_owned()),
        flags: vec![flag("upstream", "--upstream", "http://flag:3")],
        environment: &environment,
    })
    .unwrap();
    assert_eq!(config.upstream, "http://flag:3/");
    assert_eq!(config.store, StoreConfig::Memory);
    assert_eq!(config.drain, seconds(1));
    assert_eq!(config.store_timeout, seconds(5));
}

#[test]
fn every_variable_reaches_its_setting() {
    let environment = env(&[
        ("HAPAX_ADMIN", "127.0.0.1:1"),
        ("HAPAX_ADMIN_TOKEN", "t"),
        ("HAPAX_DRAIN", "2s"),
        ("HAPAX_DURABILITY", "claim"),
        ("HAPAX_LISTEN", "127.0.0.1:2"),
        ("HAPAX_LOG_FORMAT", "json"),
        ("HAPAX_SECRET", "s"),
        ("HAPAX_STORE", "memory:"),
        ("HAPAX_THREADS", "3"),
        ("HAPAX_UPSTREAM", "http://h:4"),
    ]);
    let config =
        Config::load(&Sources { environment: &environment, ..Sources::default() }).unwrap();
    assert_eq!((config.admin.listen.port(), config.listen.port()), (1, 2));
    assert_eq!(config.admin.token.unwrap().reveal(), "t");
    assert_eq!((config.drain, config.durability), (seconds(2), Durability::Claim));
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.secret.unwrap().reveal(), "s");
    assert_eq!(config.threads, Threads::Count(3.try_into().unwrap()));
    assert_eq!(
        (config.store, config.upstream),
        (StoreConfig::Memory, "http://h:4".parse().unwrap())
    );
}

#[test]
fn an_empty_variable_is_not_set() {
    let environment = env(&[("HAPAX_UPSTREAM", "http://h:4"), ("HAPAX_STORE", "")]);
    let config =
        Config::load(&Sources { environment: &environment, ..Sources::default() }).unwrap();
    assert_eq!(config.store, StoreConfig::File("./hapax-data".into()));
}

#[test]
fn the_file_may_be_named_by_a_variable() {
    let file = file(FILE);
    let path = file.path().display().to_string();
    let environment = |name: &str| (name == "HAPAX_CONFIG").then(|| path.clone());
    let config =
        Config::load(&Sources { environment: &environment, ..Sources::default() }).unwrap();
    assert_eq!(config.upstream, "http://file:1/");
}

#[test]
fn variables_are_filled_into_strings_of_the_file() {
    let file = file(
        "upstream = \"http://${HOST}:1\"\nin_flight_max = \"${LIMIT}\"\nmigrate = \"${MIGRATE}\"\n\
         [[route]]\nmatch = \"/x\"\nmethods = [\"${METHOD}\"]\nauthority = \"fixed:a$b\"",
    );
    let environment =
        env(&[("HOST", "db"), ("LIMIT", "7"), ("MIGRATE", "false"), ("METHOD", "PUT")]);
    let config = Config::load(&Sources {
        file: Some(file.path().to_owned()),
        environment: &environment,
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.upstream, "http://db:1/");
    assert_eq!((config.in_flight_max, config.migrate), (7, false));
    assert_eq!(config.routes[0].methods, ["PUT"]);
    assert_eq!(config.routes[0].authority, AuthoritySource::Fixed("a$b".to_owned()));
}

#[test]
fn an_error_names_the_flag_or_variable_it_comes_from() {
    let environment = env(&[("HAPAX_UPSTREAM", "localhost:3000"), ("HAPAX_SECRET", "s")]);
    let sources = Sources { environment: &environment, ..Sources::default() };
    assert_eq!(
        Config::load(&sources).unwrap_err().to_string(),
        "HAPAX_UPSTREAM = \"localhost:3000\" is not an absolute address; write scheme, host and \
         port, such as \"http://127.0.0.1:3000\""
    );
    let sources = Sources { flags: vec![flag("admin.listen", "--admin", "9090")], ..sources };
    assert_eq!(
        Config::load(&sources).unwrap_err().to_string(),
        "--admin = \"9090\" is not an address to listen on; write an IP address and a port, such \
         as \"127.0.0.1:8080\" or \"[::1]:8080\""
    );
}

#[test]
fn an_error_in_a_file_names_the_file() {
    let file = file("upstream = \"http://h:1\"\nwait = \"10s\"\n[defaults]\nwait = \"soon\"\n");
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    let errors = Config::load(&sources).unwrap_err();
    let name = file.path().display();
    assert_eq!(
        errors.to_string(),
        format!(
            "{name}: wait is a setting of routes; write it under [defaults] or a [[route]]\n\
             {name}: defaults.wait = \"soon\" is not a duration; write whole numbers with a unit, \
             such as \"500ms\", \"10s\", \"24h\" or \"7d\""
        )
    );
    assert_eq!(
        errors.iter().map(ConfigError::setting).collect::<Vec<_>>(),
        ["wait", "defaults.wait"]
    );
}

#[test]
fn a_missing_file_is_named() {
    let sources = Sources { file: Some("no/such.toml".into()), ..Sources::default() };
    assert_eq!(
        Config::load(&sources).unwrap_err().to_string(),
        "--config = \"no/such.toml\" cannot be read (No such file or directory (os error 2)); \
         name a file that can"
    );
}

#[test]
fn a_store_can_be_read_without_an_upstream() {
    let flags = vec![flag("store", "--store", "postgres://db/hapax")];
    let sources = Sources { flags, ..Sources::default() };
    assert!(matches!(StoreSettings::load(&sources).unwrap().store, StoreConfig::Postgres(_)));
    let flags = vec![flag("store", "--store", "mysql://db")];
    let errors = StoreSettings::load(&Sources { flags, ..Sources::default() }).unwrap_err();
    assert!(errors.to_string().starts_with("--store = \"mysql://db\" names no store we know;"));
}
