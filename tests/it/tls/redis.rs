//! TLS to Redis, to one and to a cluster.

use crate::support::redis::{Redises as _, TestRedis};
use crate::support::redis_cluster::TestRedisCluster;
use crate::support::tls::{HERE, TestAuthority, TestIdentity};
use crate::support::{TestApp, eventually};
use parlance::config::{RedisConfig, Secret};
use parlance::ids::MessageId;
use parlance::redis::Redis;
use redis::cmd;
use std::path::Path;

/// A configuration for a port, with an authority and perhaps an identity.
fn config(host: &str, port: u16, authority: &Path, identity: Option<&TestIdentity>) -> RedisConfig {
    RedisConfig {
        url: Some(Secret::new(format!("rediss://{host}:{port}"))),
        tls_ca: Some(authority.to_owned()),
        tls_cert: identity.map(|identity| identity.certificate.clone()),
        tls_key: identity.map(|identity| identity.key.clone()),
        ..RedisConfig::default()
    }
}

async fn until_it_answers(config: &RedisConfig) {
    let redis = Redis::open(config).unwrap().unwrap();
    eventually("Redis answers", async || redis.ping().await.is_ok()).await;
}

/// Waits until the reason has been found out: a caller does not wait for it.
async fn until_it_is_refused(config: &RedisConfig, word: &str) {
    let redis = Redis::open(config).unwrap().unwrap();
    let mut latest = String::new();
    eventually(&format!("it is refused with {word:?}"), async || {
        latest = redis.ping().await.unwrap_err().to_string();
        latest.contains(word)
    })
    .await;
}

#[actix_web::test]
async fn a_certificate_is_checked_with_its_name() {
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    for (identity, word) in [
        (authority.issue(&HERE), None),
        (authority.issue_expired(&HERE), Some("expired")),
        (authority.issue(&["redis.example"]), Some("not valid for name")),
        (stranger.issue(&HERE), Some("UnknownIssuer")),
    ] {
        let redis = TestRedis::start_with_tls(&identity, None).await;
        for host in HERE {
            let config = config(host, redis.tls_port(), &authority.file(), None);
            match word {
                None => until_it_answers(&config).await,
                Some(word) => until_it_is_refused(&config, word).await,
            }
        }
    }
}

#[actix_web::test]
async fn a_server_without_tls_is_refused() {
    let authority = TestAuthority::new();
    let redis = TestRedis::start_with_password("secret").await;
    let port = redis.port();
    until_it_is_refused(&config("127.0.0.1", port, &authority.file(), None), "no connection").await;
}

#[actix_web::test]
async fn a_server_that_wants_certificates_gets_ours_and_no_other() {
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    let redis = TestRedis::start_with_tls(&authority.issue(&HERE), Some(&authority)).await;
    let with = |identity: Option<&TestIdentity>| config("localhost", redis.tls_port(), &authority.file(), identity);
    until_it_is_refused(&with(None), "alert").await;
    until_it_is_refused(&with(Some(&stranger.issue(&["parlance"]))), "alert").await;
    until_it_answers(&with(Some(&authority.issue(&["parlance"])))).await;
}

#[actix_web::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = TestAuthority::new();
    let identity = authority.issue(&HERE);
    for (config, word) in [
        (
            config("a", 1, Path::new("/nonexistent/ca.pem"), None),
            "/nonexistent/ca.pem",
        ),
        (config("a", 1, &identity.key, None), "PEM"),
    ] {
        let error = Redis::open(&config).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// A message from one node reaches somebody on another.
async fn crosses(over: RedisConfig) {
    let app = TestApp::start().await;
    let (here, there) = (
        app.peer_over_config(over.clone()).await,
        app.peer_over_config(over).await,
    );
    let ([ann, bob], conversation) = here.conversation_of(["Ann", "Bob"]).await;
    let mut socket = bob.at(&there).connect().await;
    socket.subscribe(conversation, None).await;
    eventually("the bus is up on both", async || {
        let mut all = true;
        for node in [&here, &there] {
            let health = node.request(reqwest::Method::GET, "/health", None, None).await.ok();
            all &= health["parts"]["bus"]["status"] == "ok" && health["parts"]["redis"]["status"] == "ok";
        }
        all
    })
    .await;
    ann.post_message(conversation, MessageId::new(), "over TLS").await.ok();
    assert_eq!(socket.expect("message").await["body"], "over TLS");
    there.stop().await;
    here.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn nodes_speak_over_tls() {
    let authority = TestAuthority::new();
    let redis = TestRedis::start_with_tls(&authority.issue(&HERE), Some(&authority)).await;
    let ours = authority.issue(&["parlance"]);
    crosses(config("localhost", redis.tls_port(), &authority.file(), Some(&ours))).await;
}

#[actix_web::test]
async fn a_cluster_over_tls() {
    let authority = TestAuthority::new();
    let cluster = TestRedisCluster::start_with_tls(&authority.issue(&HERE), &authority).await;
    let config = RedisConfig {
        tls_ca: Some(authority.file()),
        ..cluster.config()
    };
    let redis = Redis::open(&config).unwrap().unwrap();
    eventually("the cluster is known", async || {
        redis.ping().await.is_ok() && redis.addresses().len() == 3
    })
    .await;
    // Keys of all servers: those that are asked wrongly redirect, with TLS too.
    for n in 0..32 {
        let key = format!("key-{n}");
        eventually("the key is set", async || {
            let set = redis.run_for::<()>(&key, "set", cmd("SET").arg(&key).arg(n)).await;
            set.is_ok()
        })
        .await;
    }
    crosses(config).await;
}
