//! What the server logs: one line a request with who made it, slow statements by name, panics with whose they are.

use crate::support::db::connect;
use crate::support::{Scrape, ServerProcess, eventually};
use parlance::ids::MessageId;
use serde_json::Value;

/// A server that logs JSON, with more in its environment.
fn server(environment: &[(&str, &str)]) -> ServerProcess {
    let environment: Vec<_> = [("LOG_FORMAT", "json"), ("RUST_LOG", "info")]
        .into_iter()
        .chain(environment.iter().copied())
        .collect();
    ServerProcess::start(&environment)
}

/// The events for which `wanted` is true; every line of the log has to be one event.
fn events(server: &ServerProcess, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let log = server.log();
    let parse = |line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(parse).filter(wanted).collect()
}

/// The first such event.
async fn event(server: &ServerProcess, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut found = Vec::new();
    eventually(what, async || {
        found = events(server, &wanted);
        !found.is_empty()
    })
    .await;
    found.swap_remove(0)
}

#[tokio::test]
async fn a_request_is_one_line_with_who_made_it() {
    let server = server(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let path = format!("/api/conversations/{conversation}?x=secret-query");
    let request = server.http().get(server.url(&path)).bearer_auth(&ann.token);
    assert_eq!(
        request.header("X-Request-Id", "mine-1").send().await.unwrap().status(),
        200
    );
    let of = |id: &'static str| move |event: &Value| event["span"]["request.id"] == id;
    event(&server, "the request's line", of("mine-1")).await;
    let lines = events(&server, of("mine-1"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (line, span) = (&lines[0], &lines[0]["span"]);
    assert_eq!((&line["target"], &line["level"]), (&"access".into(), &"INFO".into()));
    assert_eq!(
        (&line["method"], &line["route"]),
        (&"GET".into(), &"/api/conversations/{id}".into())
    );
    assert_eq!(line["status"], 200);
    assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    assert_eq!(span["user.id"], ann.id.to_string());
    assert_eq!(span["tenant.id"], ann.tenant.to_string());
    assert_eq!(span["conversation.id"], conversation.to_string());
    assert!(!server.log().contains("secret-query"), "query strings are not logged");

    // Nobody, and no route.
    server.request(reqwest::Method::GET, "/no/such/path", None, None).await;
    let line = event(&server, "the lost request's line", |event| event["route"] == "(none)").await;
    assert_eq!((&line["status"], &line["span"]["user.id"]), (&404.into(), &Value::Null));
    server.terminate();
}

/// In every rolling upgrade: no error, and nothing that anybody has to do.
#[tokio::test]
async fn a_schema_that_is_newer_is_said_and_no_error() {
    let mut server = server(&[]);
    let client = connect(&server.database_url()).await;
    let newer = "INSERT INTO refinery_schema_history SELECT 900, 'newer', applied_on, checksum \
                 FROM refinery_schema_history WHERE version = 1";
    client.batch_execute(newer).await.unwrap();
    drop(client);
    server.kill_9();
    server.restart();
    let about = |event: &Value| event["schema"] == 900;
    let line = event(&server, "the line about the schema", about).await;
    assert_eq!((&line["level"], events(&server, about).len()), (&"INFO".into(), 1));
    assert!(
        !server.log().contains("missing from the filesystem"),
        "{}",
        server.log()
    );
    server.terminate();
}

#[tokio::test]
async fn a_socket_is_known_by_its_handshake_and_its_person() {
    let server = server(&[]);
    let (ann, _) = server.person_with_conversation("Ann").await;
    let socket = ann.connect().await;
    let connection = socket.hello()["connection"].clone();
    socket.close().await;
    let line = event(&server, "the socket's end", |event| event["message"] == "socket ended").await;
    let span = &line["span"];
    assert_eq!((&line["code"], &span["name"]), (&1000.into(), &"socket".into()));
    assert_eq!(
        (&span["connection.id"], &span["user.id"]),
        (&connection, &ann.id.to_string().into())
    );
    let handshake = events(&server, |event| event["route"] == "/ws").swap_remove(0);
    assert_eq!(handshake["span"]["request.id"], span["request.id"]);
    assert_eq!(handshake["status"], 101);
    server.terminate();
}

#[tokio::test]
async fn a_slow_statement_is_warned_of_by_its_name_and_not_its_values() {
    let server = server(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    // So that the conversation is loaded and its lane connected.
    socket.post(conversation, MessageId::new(), "x").await;
    let (client, connection) = tokio_postgres::connect(&server.database_url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for (table, place) in [("users", "users."), ("messages", "messages.append_new")] {
        // Whoever wants the table meanwhile waits.
        let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        client.batch_execute(&lock).await.unwrap();
        let held = async {
            client.batch_execute("SELECT pg_sleep(0.7)").await.unwrap();
            client.batch_execute("COMMIT").await.unwrap();
        };
        let blocked = async {
            if table == "users" {
                ann.patch("/api/me", serde_json::json!({"name": "Planted Canary"}))
                    .await
                    .ok();
            } else {
                // The lane's lock_timeout may make it try again; each attempt is a statement.
                socket.post(conversation, MessageId::new(), "planted canary").await;
            }
        };
        tokio::join!(held, blocked);
        let slow = |event: &Value| event["statement"].as_str().is_some_and(|name| name.starts_with(place));
        let line = event(&server, place, slow).await;
        assert_eq!(line["level"], "WARN");
        assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms >= 500.0), "{line}");
    }
    assert!(
        !server.log().to_lowercase().contains("planted"),
        "values are not logged"
    );
    server.terminate();
}

#[tokio::test]
async fn a_panic_has_the_name_of_its_actor_and_a_restart_is_counted() {
    let faults = "conversations::command=1*panic(on purpose);commit::lane=1*panic(on purpose)";
    let server = server(&[("FAILPOINTS", faults)]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    while socket.try_post(conversation, MessageId::new(), "x").await.is_err() {}
    let panic = |actor: &'static str| {
        move |event: &Value| event["level"] == "ERROR" && event["actor"] == actor && event["place"].is_string()
    };
    let line = event(&server, "the conversation's panic", panic("conversation")).await;
    assert_eq!(line["actor.id"], conversation.to_string());
    assert!(line["message"].as_str().unwrap().starts_with("Panic: "), "{line}");
    event(&server, "the lane's panic", panic("persistence_lane")).await;
    let scrape = Scrape::of(&server).await;
    for actor in ["conversation", "persistence_lane"] {
        assert_eq!(
            scrape.value("actor_restarts_total", &[("actor", actor)]),
            1.0,
            "{actor}"
        );
    }
    assert_eq!(scrape.value("panics_total", &[]), 2.0);
    server.terminate();
}
