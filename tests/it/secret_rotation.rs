//! The secret that all nodes of a database sign with: a node with another one does not start, and it can be changed while
//! people are there.

use crate::auth::me;
use crate::program::parlance;
use crate::support::db::TestDatabase;
use crate::support::{ServerProcess, TestApp};
use parlance::app::App;
use parlance::config::{Config, Secret};

const OLD: &str = "the old secret of all nodes, long enough";
const NEW: &str = "the new secret of all nodes, long enough";

/// What a node on this database would say at its start; `None` if it starts.
async fn refusal(app: &TestApp, change: impl FnOnce(&mut Config)) -> Option<String> {
    let mut config = app.config.clone();
    change(&mut config);
    // What was built ends with its value.
    App::build(config).await.err().map(|error| error.to_string())
}

#[actix_web::test]
async fn a_node_with_another_secret_says_so_and_does_not_start() {
    let app = TestApp::start().await;
    let said = refusal(&app, |config| config.auth.jwt_secret = Some(Secret::new(NEW)))
        .await
        .unwrap();
    for part in ["JWT_SECRET", "jwt.key", "parlance secrets rotate"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // A node without one makes its own, which is another.
    let said = refusal(&app, |config| config.auth.jwt_secret = None).await.unwrap();
    assert!(said.contains("DATA_DIR"), "{said}");
    // Accepting it is not enough: others would refuse what this one signs.
    let own = app.config.auth.jwt_secret.clone();
    let both = |config: &mut Config| {
        config.auth.jwt_secret_previous = own;
        config.auth.jwt_secret = Some(Secret::new(NEW));
    };
    assert!(refusal(&app, both).await.is_some());
    let rows = app.database.query("SELECT * FROM installation", &[]).await;
    assert_eq!(rows.len(), 1);
    let fingerprint: Vec<u8> = rows[0].get("secret_fingerprint");
    assert!(fingerprint.len() == 32 && rows[0].get::<_, Option<Vec<u8>>>("previous_fingerprint").is_none());
    let peer = app.peer().await;
    peer.stop().await;
    app.stop().await;
}

/// As docs/operations.md has it: both accept both, then the secret is changed, then nodes sign with the new one.
#[tokio::test]
async fn a_secret_is_changed_without_refusing_anybody() {
    let database = TestDatabase::create().await;
    let node = |secret: &str, previous: &str| {
        ServerProcess::try_start(&[
            ("DATABASE_URL", database.url()),
            ("JWT_SECRET", secret),
            ("JWT_SECRET_PREVIOUS", previous),
            ("DATABASE_POOL_SIZE", "5"),
        ])
    };
    let rotate = |secret: &str, previous: &str, more: &[&str]| {
        let environment = [
            ("DATABASE_URL", database.url()),
            ("JWT_SECRET", secret),
            ("JWT_SECRET_PREVIOUS", previous),
        ];
        let output = parlance(&[["secrets", "rotate"].as_slice(), more].concat(), &environment);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let first = node(OLD, NEW).unwrap();
    let ann = first.register("Ann").await;
    assert!(node(NEW, OLD).is_err(), "not before it was changed");

    let (done, said) = rotate(NEW, "another secret, which is as long as it has to be", &[]);
    assert!(!done && said.contains("JWT_SECRET_PREVIOUS"), "{said}");
    assert!(rotate(NEW, OLD, &[]).0);
    assert!(rotate(NEW, OLD, &[]).0, "again is fine");
    let second = node(NEW, OLD).unwrap();
    let bob = second.register("Bob").await;
    for (site, person) in [(&first, &ann), (&first, &bob), (&second, &ann), (&second, &bob)] {
        me(site, &person.token).await.ok();
    }
    // A node that has not got the new one first may still start; one that does not know it may not.
    node(OLD, NEW).unwrap().terminate();
    assert!(node(OLD, "").is_err());
    first.terminate();
    // Once no token of before lives, only the new one counts.
    let run_out = "UPDATE installation SET previous_until = now()";
    database.query(run_out, &[]).await;
    assert!(node(OLD, NEW).is_err());
    let third = node(NEW, "").unwrap();
    me(&third, &bob.token).await.ok();
    me(&third, &ann.token).await.problem(401, "unauthenticated");
    third.terminate();
    second.terminate();

    // Lost: nobody can show it.
    assert!(!rotate(OLD, "", &[]).0);
    assert!(rotate(OLD, "", &["--force"]).0);
    node(OLD, "").unwrap().terminate();
    database.remove().await;
}
