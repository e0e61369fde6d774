//! A server that refuses every session with one error, as PostgreSQL and poolers send it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{OpenError, PgOptions, PgStore, migrate};

/// Answers each session with this SQLSTATE and message, from line 334 of its source.
async fn refusing(code: &'static str, message: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut session, _)) = listener.accept().await {
            let mut bytes = [0; 1024];
            let mut read = session.read(&mut bytes).await.unwrap_or(0);
            // It is asked for TLS first, and has none.
            if read == 8 {
                session.write_all(b"N").await.unwrap();
                read = session.read(&mut bytes).await.unwrap_or(0);
            }
            if read == 0 {
                continue;
            }
            let mut fields = Vec::new();
            for (name, value) in
                [('S', "FATAL"), ('V', "FATAL"), ('C', code), ('M', message), ('L', "334")]
            {
                fields.push(u8::try_from(name).unwrap());
                fields.extend_from_slice(value.as_bytes());
                fields.push(0);
            }
            fields.push(0);
            let length = u32::try_from(fields.len() + 4).unwrap();
            let answer = [b"E".as_slice(), &length.to_be_bytes(), &fields].concat();
            session.write_all(&answer).await.unwrap();
            let _closed = session.read(&mut bytes).await;
        }
    });
    address
}

fn options() -> PgOptions {
    PgOptions { store_timeout: Duration::from_secs(30), ..PgOptions::default() }
}

/// How both ways to open the store fail.
async fn failures(url: &str, options: &PgOptions) -> [OpenError; 2] {
    let opened = PgStore::connect(url, options.clone()).await;
    [opened.expect_err("no store"), migrate(url, options).await.expect_err("no migration")]
}

#[tokio::test]
async fn what_a_setting_mends_names_the_setting_and_no_password() {
    for (code, message, mend) in [
        ("28P01", "password authentication failed for user \"u\"", "password in `store`"),
        ("28000", "no pg_hba.conf entry for host \"h\", user \"u\", no encryption", "pg_hba.conf"),
        ("3D000", "database \"d\" does not exist", "another in `store`"),
        ("08P01", "no such database: d", "another in `store`"),
        ("08P01", "database \"d\" does not exist", "another in `store`"),
        ("08P01", "SASL authentication failed", "password in `store`"),
        ("42501", "permission denied for database \"d\"", "CONNECT"),
        ("08P01", "unsupported startup parameter: options", "`[postgres] pooled = true`"),
    ] {
        let url = format!("postgres://u:geheim@{}/d", refusing(code, message).await);
        for error in failures(&url, &options()).await {
            assert!(matches!(error, OpenError::Settings { .. }), "{code}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(message) && text.contains(mend), "{code}: {text}");
            assert!(!text.contains("geheim") && !text.contains("at line"), "{code}: {text}");
        }
    }
}

#[tokio::test]
async fn what_passes_by_itself_is_an_outage() {
    for (code, message) in [
        ("57P03", "the database system is starting up"),
        ("53300", "sorry, too many clients already"),
        ("08P01", "server login has been failing"),
    ] {
        let url = format!("postgres://u:geheim@{}/d", refusing(code, message).await);
        for error in failures(&url, &options()).await {
            assert!(matches!(error, OpenError::Unavailable { .. }), "{code}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(message) && !text.contains("at line"), "{code}: {text}");
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    for error in failures(&format!("postgres://u@{nobody}/d"), &options()).await {
        assert!(matches!(error, OpenError::Unavailable { .. }), "{error:?}");
    }
}

/// It is told of the pooler already, and yet something in the address does not pass.
#[tokio::test]
async fn what_a_pooler_that_is_known_refuses_is_taken_out_of_the_address() {
    let pooler = refusing("08P01", "unsupported startup parameter: options").await;
    let url = format!("postgres://u@{pooler}/d?options=-cwork_mem=1MB");
    for error in failures(&url, &PgOptions { pooled: true, ..options() }).await {
        let text = error.to_string();
        assert!(text.contains("out of `store`") && !text.contains("pooled = true"), "{text}");
    }
}

/// A server that has TLS, to whom nobody says a word before the files are read.
#[tokio::test]
async fn a_certificate_that_is_not_there_is_a_setting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut session, _)) = listener.accept().await {
            let mut bytes = [0; 8];
            session.read_exact(&mut bytes).await.unwrap();
            session.write_all(b"S").await.unwrap();
            let _closed = session.read(&mut bytes).await;
        }
    });
    let url = format!("postgres://u@{address}/d?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem");
    for error in failures(&url, &options()).await {
        assert!(matches!(error, OpenError::Settings { .. }), "{error:?}");
        assert!(error.to_string().contains("`sslrootcert`"), "{error}");
    }
    let plain = refusing("57P03", "it is never asked").await;
    for error in failures(&format!("postgres://u@{plain}/d?sslmode=require"), &options()).await {
        assert!(matches!(error, OpenError::Settings { .. }), "{error:?}");
        assert!(error.to_string().contains("`sslmode`"), "{error}");
    }
}
