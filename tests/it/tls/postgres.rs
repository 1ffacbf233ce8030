//! TLS to PostgreSQL.

use crate::support::db::TestDatabase;
use crate::support::postgres::{TestPostgres, catch_up};
use crate::support::tls::{HERE, TestAuthority, TestIdentity, TlsFront};
use crate::support::{Scrape, TestApp, eventually};
use parlance::config::{Config, Secret};
use parlance::database::Database;
use parlance::ids::MessageId;
use std::path::Path;

/// The database that every case of a test looks at; it is migrated.
async fn try_open(url: &str) -> Result<(), String> {
    let mut config = Config::default();
    config.database.url = Some(Secret::new(url));
    match Database::open(&config).await {
        Ok(database) => {
            let pinged = database.ping().await;
            database.close().await;
            pinged.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Asserts that it can be used, or that the error has a word.
#[track_caller]
fn check(case: &str, result: Result<(), String>, expected: Result<(), &str>) {
    match (result, expected) {
        (Ok(()), Ok(())) => {}
        (Err(error), Err(word)) if error.contains(word) => {}
        (result, expected) => panic!("{case}: {result:?}, not {expected:?}"),
    }
}

fn with_roots(mode: &str, authority: &TestAuthority) -> String {
    format!("?sslmode={mode}&sslrootcert={}", authority.file().display())
}

fn with_identity(parameters: &str, identity: &TestIdentity) -> String {
    let path = |path: &Path| path.display().to_string();
    format!(
        "{parameters}&sslcert={}&sslkey={}",
        path(&identity.certificate),
        path(&identity.key)
    )
}

#[actix_web::test]
async fn a_certificate_is_checked_as_the_mode_says() {
    let there = TestDatabase::create().await;
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    let expired = "certificate expired";
    let other_name = "not valid for name";
    let unknown = "UnknownIssuer";
    // verify-full, verify-ca, require with authorities, require, prefer.
    for (kind, identity, expected) in [
        ("good", authority.issue(&HERE), [Ok(()), Ok(()), Ok(()), Ok(()), Ok(())]),
        (
            "expired",
            authority.issue_expired(&HERE),
            [Err(expired), Err(expired), Err(expired), Ok(()), Ok(())],
        ),
        (
            "of another name",
            authority.issue(&["db.example"]),
            [Err(other_name), Ok(()), Ok(()), Ok(()), Ok(())],
        ),
        (
            "of an unknown authority",
            stranger.issue(&HERE),
            [Err(unknown), Err(unknown), Err(unknown), Ok(()), Ok(())],
        ),
    ] {
        let front = TlsFront::start(there.url(), &identity, None).await;
        let all = [
            with_roots("verify-full", &authority),
            with_roots("verify-ca", &authority),
            with_roots("require", &authority),
            "?sslmode=require".to_owned(),
            String::new(),
        ];
        for (parameters, expected) in all.iter().zip(expected) {
            for host in HERE {
                let before = front.handshakes();
                let result = try_open(&front.url(host, parameters)).await;
                check(&format!("{kind}, {host}, {parameters}"), result, expected);
                if expected.is_ok() {
                    assert!(front.handshakes() > before, "{kind}, {parameters}: no TLS was spoken");
                }
            }
        }
        let result = try_open(&front.url("localhost", "?sslmode=disable")).await;
        assert!(result.is_err() && front.handshakes() > 0);
    }
    there.remove().await;
}

#[actix_web::test]
async fn a_server_without_tls_is_used_only_where_it_is_a_mere_preference() {
    let there = TestDatabase::create().await;
    let authority = TestAuthority::new();
    let plain = crate::support::chaos::Proxy::start(there.url()).await;
    let broken = TlsFront::start_broken(there.url()).await;
    let none = Err("server does not support TLS");
    for (parameters, without, breaks_off) in [
        (String::new(), Ok(()), Ok(())),
        ("?sslmode=disable".to_owned(), Ok(()), Ok(())),
        ("?sslmode=require".to_owned(), none, Err("TLS handshake")),
        (with_roots("verify-full", &authority), none, Err("TLS handshake")),
    ] {
        let result = try_open(&format!("{}{parameters}", plain.url())).await;
        check(&format!("without TLS, {parameters}"), result, without);
        let result = try_open(&broken.url("localhost", &parameters)).await;
        check(&format!("breaks off, {parameters}"), result, breaks_off);
    }
    there.remove().await;
}

#[actix_web::test]
async fn a_server_that_wants_certificates_gets_ours_and_no_other() {
    let there = TestDatabase::create().await;
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    let front = TlsFront::start(there.url(), &authority.issue(&HERE), Some(&authority)).await;
    let roots = with_roots("verify-full", &authority);
    let with = |identity: &TestIdentity| front.url("localhost", &with_identity(&roots, identity));
    assert!(try_open(&front.url("localhost", &roots)).await.is_err());
    assert!(try_open(&with(&stranger.issue(&["parlance"]))).await.is_err());
    assert!(try_open(&with(&authority.issue_expired(&["parlance"]))).await.is_err());
    assert_eq!(front.handshakes(), 0);
    check("ours", try_open(&with(&authority.issue(&["parlance"]))).await, Ok(()));
    there.remove().await;
}

#[actix_web::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = TestAuthority::new();
    let (one, other) = (authority.issue(&HERE), authority.issue(&HERE));
    let roots = with_roots("verify-full", &authority);
    let mixed = TestIdentity {
        certificate: one.certificate.clone(),
        key: other.key.clone(),
    };
    let swapped = TestIdentity {
        certificate: one.key.clone(),
        key: one.certificate.clone(),
    };
    for (parameters, words) in [
        (
            "?sslmode=verify-full&sslrootcert=/nonexistent/ca.pem".to_owned(),
            ["/nonexistent/ca.pem", "cannot be read"],
        ),
        (
            format!("?sslmode=verify-full&sslrootcert={}", one.key.display()),
            [one.key.to_str().unwrap(), "PEM"],
        ),
        (
            with_identity(&roots, &mixed),
            [other.key.to_str().unwrap(), "cannot be used"],
        ),
        (
            with_identity(&roots, &swapped),
            [one.certificate.to_str().unwrap(), "PEM"],
        ),
    ] {
        for name in ["DATABASE_URL", "DATABASE_REPLICA_URL"] {
            let mut config = Config::default();
            config.database.url = Some(Secret::new("postgres://u@127.0.0.1:1/x"));
            let url = Some(Secret::new(format!("postgres://u:secret@127.0.0.1:1/x{parameters}")));
            match name {
                "DATABASE_URL" => config.database.url = url,
                _ => config.replica.url = url,
            }
            let error = Database::open(&config).await.err().unwrap().to_string();
            assert!(
                error.starts_with(name) && words.iter().all(|word| error.contains(word)) && !error.contains("secret"),
                "{parameters}: {error}"
            );
        }
    }
}

#[actix_web::test]
async fn a_node_and_its_replica_over_tls() {
    let (primary, authority) = (TestPostgres::primary().await, TestAuthority::new());
    let identity = authority.issue(&HERE);
    let there = TestDatabase::create_on(&primary.url("postgres")).await;
    let front = TlsFront::start(there.url(), &identity, Some(&authority)).await;
    let replica = primary.replica().await;
    let replica_front = TlsFront::start(&replica.url(there.name()), &identity, Some(&authority)).await;
    let parameters = with_identity(&with_roots("verify-full", &authority), &authority.issue(&["parlance"]));
    let app = TestApp::on(there, |config| {
        config.database.url = Some(Secret::new(front.url("localhost", &parameters)));
        config.replica.url = Some(Secret::new(replica_front.url("localhost", &parameters)));
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    ann.post_message(conversation, MessageId::new(), "hello").await.ok();
    catch_up(&primary, &replica).await;
    eventually("the replica is read", async || {
        Scrape::of(&app).await.sum("db_replica_up") > 0.0
    })
    .await;
    assert!(front.handshakes() > 0 && replica_front.handshakes() > 0);
    app.stop().await;
}
