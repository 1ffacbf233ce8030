//! The way to Redis, against a real one: answers, deadlines, faults, and the breaker that opens and closes by itself.

use crate::support::chaos::{Proxy, Upstream};
use crate::support::redis::{TestRedis, timed};
use crate::support::{eventually, pace};
use futures_util::future::join_all;
use parlance::config::{RedisConfig, Secret};
use parlance::redis::{BreakerState, Error, Redis};
use redis::{Script, cmd, pipe};
use std::time::Duration;

/// What no request may lose to Redis.
const LOSS_MAX: Duration = Duration::from_millis(250);

async fn open() -> (TestRedis, Redis) {
    let server = TestRedis::start().await;
    let redis = Redis::open(&server.config()).unwrap().unwrap();
    (server, redis)
}

/// On a busy machine an answer may take its time; what is not about deadlines has a longer one.
fn patient(config: RedisConfig) -> Redis {
    let timeout = Duration::from_secs(10);
    Redis::open(&RedisConfig { timeout, ..config }).unwrap().unwrap()
}

async fn open_patiently() -> (TestRedis, Redis) {
    let server = TestRedis::start().await;
    let redis = patient(server.config());
    (server, redis)
}

async fn ping_until_it_answers(redis: &Redis) {
    eventually("Redis is asked again and answers", async || redis.ping().await.is_ok()).await;
    assert_eq!(redis.status().breaker, BreakerState::Closed);
}

#[actix_web::test]
async fn commands_pipelines_and_scripts_are_answered() {
    let (server, redis) = open_patiently().await;
    assert!(Redis::open(&RedisConfig::default()).unwrap().is_none());
    redis.ping().await.unwrap();
    let set = redis.run_for::<()>("a", "set", cmd("SET").arg("a").arg(7)).await;
    set.unwrap();
    let both: (i64, Option<String>) = redis
        .run_for("a", "both", pipe().cmd("INCR").arg("a").cmd("GET").arg("none"))
        .await
        .unwrap();
    assert_eq!(both, (8, None));
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for expected in [10, 12] {
        let sum: i64 = redis.run_for("a", "script", script.key("a").arg(2)).await.unwrap();
        assert_eq!(sum, expected);
    }
    server.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    let sum: i64 = redis.run_for("a", "script", script.key("a").arg(2)).await.unwrap();
    assert_eq!(
        (sum, redis.status().failures),
        (14, 0),
        "a forgotten script is sent again"
    );
}

#[actix_web::test]
async fn answers_of_the_wrong_type_open_the_breaker() {
    let (_server, redis) = open_patiently().await;
    redis
        .run_for::<()>("a", "set", cmd("SET").arg("text").arg("hello"))
        .await
        .unwrap();
    for _ in 0..4 {
        let wrong = redis.run_for::<i64>("a", "get", cmd("GET").arg("text")).await;
        assert!(matches!(wrong, Err(Error::Failed { .. })), "{wrong:?}");
    }
    let (refused, took) = timed(redis.ping()).await;
    assert!(
        matches!(refused, Err(Error::BreakerOpen)) && took < Duration::from_millis(20),
        "{took:?}"
    );
    let status = redis.status();
    assert_eq!((status.openings, status.failures), (1, 4));
    ping_until_it_answers(&redis).await;
}

#[actix_web::test]
async fn a_frozen_redis_costs_a_deadline_and_then_nothing() {
    let (server, redis) = open().await;
    redis.ping().await.unwrap();
    server.freeze();
    let callers = (0..50).map(|_| timed(redis.ping()));
    for (result, took) in futures_util::future::join_all(callers).await {
        assert!(result.is_err() && took < LOSS_MAX, "{result:?} after {took:?}");
    }
    let asked_often = timed(async {
        for _ in 0..100 {
            redis.ping().await.unwrap_err();
        }
    });
    let ((), took) = asked_often.await;
    assert!(took < LOSS_MAX, "a hundred calls of one request took {took:?}");
    assert!(redis.status().openings > 0);
    server.thaw();
    ping_until_it_answers(&redis).await;
}

#[actix_web::test]
async fn a_killed_redis_is_missed_and_found_again() {
    let (mut server, redis) = open().await;
    futures_util::future::join_all((0..20).map(|_| redis.ping())).await;
    assert!(redis.status().connections > 1);
    server.kill_9();
    for _ in 0..10 {
        let (result, took) = timed(redis.ping()).await;
        assert!(result.is_err() && took < LOSS_MAX, "{result:?} after {took:?}");
    }
    assert!(redis.status().openings > 0);
    server.restart().await;
    ping_until_it_answers(&redis).await;
}

#[actix_web::test]
async fn connections_that_redis_closed_fail_nobody() {
    let (mut server, redis) = open_patiently().await;
    futures_util::future::join_all((0..20).map(|_| redis.ping())).await;
    server.restart().await;
    for _ in 0..20 {
        redis.ping().await.unwrap();
    }
    assert_eq!(redis.status().failures, 0);
}

#[actix_web::test]
async fn a_call_that_is_given_up_leaves_its_answer_to_nobody() {
    let server = TestRedis::start().await;
    let config = RedisConfig {
        pool_size: 1,
        ..server.config()
    };
    let redis = patient(config);
    redis.ping().await.unwrap();
    {
        let mut waits = cmd("BLPOP");
        waits.arg("list").arg(0);
        let call = redis.run_for::<(String, String)>("a", "blpop", &waits);
        assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
    }
    server.ask::<()>(&["RPUSH", "list", "late"]).await;
    redis.ping().await.unwrap();
    assert_eq!(redis.status().failures, 0, "giving up is no failure of Redis");
}

#[actix_web::test]
async fn nobody_waits_for_an_address_that_never_answers() {
    // Accepts, and says nothing: what a connection's greeting waits for.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = RedisConfig {
        url: Some(Secret::new(format!("redis://:secret@{}", silent.local_addr().unwrap()))),
        ..RedisConfig::default()
    };
    let redis = Redis::open(&config).unwrap().unwrap();
    let (result, took) = timed(redis.ping()).await;
    assert!(
        matches!(result, Err(Error::Timeout { .. })) && took < LOSS_MAX,
        "{took:?}"
    );
    drop(silent);
    eventually("the reason is told", async || {
        pace(Duration::from_millis(50)).await;
        redis.ping().await.is_err_and(|error| {
            assert!(!error.to_string().contains("secret"));
            matches!(error, Error::Timeout { cause: Some(_), .. })
        })
    })
    .await;
}

/// The pause grows with each call that fails, so old connections must not fail one call each.
#[actix_web::test]
async fn connections_that_a_firewall_has_forgotten_cost_one_pause() {
    let server = TestRedis::start().await;
    let proxy = Proxy::to(Upstream::Unix(server.socket())).await;
    let redis = Redis::open(&RedisConfig {
        url: Some(Secret::new(proxy.redis_url())),
        // Machines that test are busy.
        timeout: Duration::from_millis(250),
        ..RedisConfig::default()
    })
    .unwrap()
    .unwrap();
    ping_until_it_answers(&redis).await;
    eventually("all connections are made", async || {
        let mut waits = cmd("BLPOP");
        waits.arg("none").arg(0.1);
        join_all((0..10).map(|_| redis.run_for::<Option<String>>("none", "blpop", &waits))).await;
        redis.status().connections == 10
    })
    .await;
    ping_until_it_answers(&redis).await;
    proxy.forget();
    let ((), took) = timed(ping_until_it_answers(&redis)).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[actix_web::test]
async fn over_tcp_with_a_password() {
    let server = TestRedis::start_with_password("secret,key").await;
    let redis = patient(server.config());
    redis.ping().await.unwrap();
    redis
        .run_for::<()>("a", "set", cmd("SET").arg("a").arg(7))
        .await
        .unwrap();
    assert_eq!(server.keys("*").await, ["a"], "in the database of the address");
    let config = RedisConfig {
        url: Some(Secret::new(server.url().replace("secret", "geheim"))),
        ..RedisConfig::default()
    };
    let redis = Redis::open(&config).unwrap().unwrap();
    eventually("the reason is told", async || {
        redis.ping().await.is_err_and(|error| {
            let text = error.to_string();
            assert!(!text.contains("geheim"), "{text}");
            text.contains("uthentication") || text.contains("WRONGPASS")
        })
    })
    .await;
}
