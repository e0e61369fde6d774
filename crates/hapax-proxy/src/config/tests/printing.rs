use super::*;

fn print(text: &str) -> String {
    let layers = Sources::default().layers_over(&format!("{UPSTREAM}{text}")).unwrap();
    print::print(&layers)
}

/// Both as types, where a secret's text does not show.
fn same(written: &str, printed: &str) {
    let read = |text: &str| format!("{:?}", Config::from_toml(text).unwrap());
    assert_eq!(read(printed), read(&format!("{UPSTREAM}{written}")));
}

#[test]
fn printed_settings_read_back_as_the_same() {
    for written in [
        "",
        r#"
        store = "memory:"
        cors_origins = ["https://shop.example"]
        [tls]
        cert = "cert.pem"
        key = "key.pem"
        [admin]
        hosts = ["hapax.internal"]
        [defaults]
        retention = "60m"
        failures = { preset = "strict", "4xx" = "free" }
        [[route]]
        match = "/v1/payments/**"
        key = "required"
        [[route]]
        match = "/v1/orders/*"
        key_source = "body:/id"
        "#,
        "[defaults]\nkey_source = \"content\"",
    ] {
        same(written, &print(written));
    }
}

#[test]
fn printed_settings_say_where_they_come_from() {
    let printed = print(
        "drain = \"1m\"\n[defaults]\nwait = \"1s\"\n[[route]]\nmatch = \"/x\"\n\
         key_source = \"content\"\nlease = \"5s\"",
    );
    insta::assert_snapshot!(printed);
}

#[test]
fn printed_settings_hold_no_secret() {
    let environment = |name: &str| (name == "HAPAX_SECRET").then(|| "geheim".to_owned());
    let sources = Sources { environment: &environment, ..Sources::default() };
    let text = format!(
        "{UPSTREAM}store = \"postgres://app:geheim@db/x\"\n[admin]\ntoken = \"geheim\"\n\
         [defaults]\nauthority = \"fixed:${{HAPAX_SECRET}}\""
    );
    let printed = print::print(&sources.layers_over(&text).unwrap());
    assert!(!printed.contains("geheim"), "{printed}");
    for line in [
        "secret = \"${HAPAX_SECRET}\"                      # HAPAX_SECRET",
        "store = \"postgres://redacted@db/x\"              # redacted",
        "token = \"${HAPAX_ADMIN_TOKEN}\"                  # redacted",
        "authority = \"fixed:${HAPAX_SECRET}\"",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in {printed}");
    }
}
