//! The program as whoever starts nodes uses it: `parlance health`, and secrets that are handed over as files.

use crate::support::db::connect;
use crate::support::{PATIENCE, ServerProcess, TempDir};
use reqwest::Method;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Instant;

/// Runs a command of the program with nothing of this process's settings.
pub fn parlance(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
    for name in ["DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_SECRET_PREVIOUS"] {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn health(address: SocketAddr, arguments: &[&str]) -> Result<serde_json::Value, String> {
    let arguments: Vec<_> = ["health"].into_iter().chain(arguments.iter().copied()).collect();
    let output = parlance(&arguments, &[("BIND", &address.to_string())]);
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn health_is_asked_of_the_node_that_listens_there() {
    let mut server = ServerProcess::start(&[]);
    let address = server.address;
    assert_eq!(health(address, &[]).unwrap()["parts"], serde_json::json!({}));
    let ready = health(address, &["--ready"]).unwrap();
    assert_eq!(
        (&ready["status"], &ready["parts"]["database"]["status"]),
        (&"ok".into(), &"ok".into())
    );
    // Asked at all addresses, it is found at loopback.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    health(everywhere, &["--ready"]).unwrap();
    server.begin_stop();
    assert!(server.wait(PATIENCE).success());
    // Nobody is not well.
    let error = health(address, &[]).unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
}

#[tokio::test]
async fn a_node_that_should_get_no_work_lives_and_is_not_ready() {
    let server = ServerProcess::start(&[]);
    let client = connect(&server.database_url()).await;
    let behind = "UPDATE refinery_schema_history SET version = version - 100";
    client.batch_execute(behind).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        match health(server.address, &["--ready"]) {
            Err(error) => break error,
            // What the parts have said is repeated for a second.
            Ok(answer) => assert!(Instant::now() < deadline, "{answer}"),
        }
    };
    assert!(error.contains("503") && error.contains("the schema is"), "{error}");
    health(server.address, &[]).unwrap();
    server.terminate();
}

#[tokio::test]
async fn nodes_that_get_the_same_key_from_a_file_accept_each_others_tokens() {
    let directory = TempDir::new("secrets");
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // With a line break at the end, as editors and orchestrators leave it, and without.
    let key = file("key", "0123456789abcdef0123456789abcdef\n");
    let same = file("same", "0123456789abcdef0123456789abcdef");
    let first = ServerProcess::start(&[("JWT_SECRET_FILE", &key)]);
    let ann = first.register("Ann").await;
    let database = file("database", &first.database_url());
    let environment = [("JWT_SECRET_FILE", &*same), ("DATABASE_URL_FILE", &*database)];
    let second = ServerProcess::start(&environment);
    assert!(
        !second.data_dir().join("postgres").exists(),
        "it uses the other's database"
    );
    let me = second
        .request(Method::GET, "/api/me", Some(&ann.token), None)
        .await
        .ok();
    assert_eq!(me["name"], "Ann");

    let printed = parlance(&["config"], &environment);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.contains("JWT_SECRET=***") && !printed.contains("0123456789"),
        "{printed}"
    );
    let both = [
        ("JWT_SECRET_FILE", &*key),
        ("JWT_SECRET", "fedcba9876543210fedcba9876543210"),
    ];
    let refused = parlance(&["config"], &both);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && error.contains("JWT_SECRET is set too"),
        "{error}"
    );
    second.terminate();
    first.terminate();
}
