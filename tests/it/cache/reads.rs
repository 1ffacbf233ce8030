//! What REST reads through the cache: no query for what is known, and never what was before one's own change.

use crate::support::TestApp;
use crate::support::chaos::Chaos;
use serde_json::json;

#[actix_web::test]
async fn a_cached_user_and_tenant_cost_no_query() {
    let (app, proxy) = TestApp::behind_proxy().await;
    let (ann, _) = app.person_with_conversation("Ann").await;
    let paths = [
        "/api/me".to_owned(),
        "/api/tenant".to_owned(),
        format!("/api/users/{}", ann.id),
    ];
    for path in &paths {
        ann.get(path).await.ok();
    }
    // No query can be answered now, so none is needed.
    proxy.set(Chaos::Freeze);
    for path in &paths {
        ann.get(path).await.ok();
    }
    proxy.set(Chaos::None);
    app.stop().await;
}

#[actix_web::test]
async fn changes_show_at_once_here_and_soon_elsewhere() {
    let app = TestApp::start().await;
    let (ann, _) = app.person_with_conversation("Ann").await;
    let there = app.peer().await;
    let elsewhere = ann.at(&there);
    for person in [&ann, &elsewhere] {
        assert_eq!(person.get("/api/me").await.ok()["name"], "Ann");
        person.get("/api/tenant").await.ok();
    }
    for name in ["Bea", "Cleo"] {
        let changed = ann.patch("/api/me", json!({"name": name})).await.ok();
        assert_eq!(changed["name"], name);
        assert_eq!(ann.get("/api/me").await.ok()["name"], name);
        let tenant = ann.patch("/api/tenant", json!({"name": name})).await.ok();
        assert_eq!(ann.get("/api/tenant").await.ok(), tenant);
        crate::support::eventually("the other node shows it", async || {
            let (me, theirs) = (elsewhere.get("/api/me").await, elsewhere.get("/api/tenant").await);
            me.ok()["name"] == name && theirs.ok() == tenant
        })
        .await;
    }
    there.stop().await;
    app.stop().await;
}
