//! Hashing passwords: who signs up with passwords that are hard to judge keeps nobody from signing in.

use crate::support::{TestApp, client};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIGN_UPS: usize = 12;

#[actix_web::test]
async fn people_sign_in_while_hard_passwords_are_judged() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let judged = AtomicUsize::new(0);
    let sign_ups = join_all((0..SIGN_UPS).map(async |n| {
        let password = format!("{n}{}", "p4$$w0rd5Tr0ub4d0r&3".repeat(5));
        let new = json!({"email": client::fresh_email("Mallory"), "password": password, "name": "Mallory"});
        let answer = app.request(Method::POST, "/auth/register", None, Some(new)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        judged.fetch_add(1, Ordering::SeqCst);
    }));
    let signs_in = async {
        let login = json!({"email": ann.email, "password": client::PASSWORD});
        app.request(Method::POST, "/auth/login", None, Some(login)).await.ok();
        judged.load(Ordering::SeqCst)
    };
    let (_, before) = futures_util::join!(sign_ups, signs_in);
    assert!(before < SIGN_UPS / 2, "{before} of {SIGN_UPS} were before");
    app.stop().await;
}
