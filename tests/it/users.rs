//! People of a tenant: who sees what, who changes whom, and that a tenant keeps an owner.

use crate::support::{Person, TestApp, eventually};
use parlance::ids::UserId;
use serde_json::{Value, json};

async fn change(by: &Person, whom: &Person, change: Value) -> crate::support::Answer {
    by.patch(&format!("/api/users/{}", whom.id), change).await
}

fn names(page: &Value) -> Vec<&str> {
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["name"].as_str().unwrap())
        .collect()
}

#[actix_web::test]
async fn admins_see_everything_and_others_names() {
    let app = TestApp::start().await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let gus = app.guest("Gus", &ann.invite(conversation).await).await;
    let path = format!("/api/users/{}", bob.id);
    let full = ann.get(&path).await.ok();
    assert_eq!(
        (&full["email"], &full["role"], &full["status"]),
        (&json!(bob.email), &json!("member"), &json!("active"))
    );
    let own = bob.get(&path).await.ok();
    assert_eq!(own, full);
    let public = json!({"id": bob.id, "name": "Bob", "kind": "person"});
    assert_eq!(gus.get(&path).await.ok(), public);
    let list = bob.get("/api/users").await.ok();
    assert_eq!(
        names(&list),
        ["Ann", "Bob"],
        "guests are many, and mostly not looked for"
    );
    let everybody = ann.get("/api/users?guests=true").await.ok();
    assert_eq!(names(&everybody), ["Ann", "Bob", "Gus"]);
    assert_eq!(list["items"][0], json!({"id": ann.id, "name": "Ann", "kind": "person"}));
    assert_eq!(everybody["items"][2]["role"], "guest");
    app.stop().await;
}

#[actix_web::test]
async fn people_are_found_by_ids_and_by_the_beginnings_of_words() {
    let app = TestApp::start().await;
    let ([ann, lee, zoe, odd], conversation) = app
        .conversation_of(["Ann Lee", "Jean-Luc O'Neil", "Zo\u{eb} 50%_off", "Hannah"])
        .await;
    let gus = app.guest("Anna the guest", &ann.invite(conversation).await).await;
    let other = app.register("Ann of elsewhere").await;
    let found = async |by: &Person, query: &[(&str, &str)]| {
        let query = serde_urlencoded::to_string(query).unwrap();
        let page = by.get(&format!("/api/users?{query}")).await.ok();
        names(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (q, expected) in [
        ("an", vec!["Ann Lee"]),
        ("ANN L", vec!["Ann Lee"]),
        ("lee", vec!["Ann Lee"]),
        ("luc", vec!["Jean-Luc O'Neil"]),
        ("jean-l", vec!["Jean-Luc O'Neil"]),
        ("neil", vec!["Jean-Luc O'Neil"]),
        ("o'n", vec!["Jean-Luc O'Neil"]),
        ("zoe\u{308}", vec!["Zo\u{eb} 50%_off"]),
        ("50%_", vec!["Zo\u{eb} 50%_off"]),
        ("off", vec!["Zo\u{eb} 50%_off"]),
        ("%", vec![]),
        ("_", vec![]),
        ("annah", vec![]),
        ("\\", vec![]),
    ] {
        for by in [&ann, &odd] {
            assert_eq!(found(by, &[("q", q)]).await, expected, "{q}");
        }
    }
    assert_eq!(
        found(&lee, &[("q", "an"), ("guests", "true")]).await,
        ["Ann Lee", "Anna the guest"]
    );
    // An address is found by its beginning by those who see it; by others only as a whole.
    let address = zoe.email.clone().unwrap();
    let beginning = address.split('.').nth(2).unwrap().get(..20).unwrap();
    assert_eq!(found(&ann, &[("q", beginning)]).await, [&*zoe.name]);
    assert_eq!(found(&ann, &[("q", &address.to_uppercase())]).await, [&*zoe.name]);
    assert_eq!(found(&lee, &[("q", beginning)]).await, Vec::<String>::new());
    assert_eq!(found(&lee, &[("q", &address)]).await, [&*zoe.name]);

    let ids = |people: &[&Person]| {
        let ids: Vec<_> = people.iter().map(|person| person.id.to_string()).collect();
        ids.join(",")
    };
    let asked = ids(&[&zoe, &ann, &gus, &other]);
    assert_eq!(
        found(&lee, &[("ids", &asked)]).await,
        ["Ann Lee", &*zoe.name],
        "nobody of elsewhere"
    );
    assert_eq!(
        found(&lee, &[("ids", &asked), ("guests", "true")]).await,
        ["Ann Lee", &*zoe.name, "Anna the guest"]
    );
    assert_eq!(found(&lee, &[("ids", &asked), ("q", "zo")]).await, [&*zoe.name]);
    let many = vec![ann.id.to_string(); 100].join(",");
    assert_eq!(found(&lee, &[("ids", &many)]).await, ["Ann Lee"]);
    for (query, field) in [
        (format!("ids={many},{}", ann.id), "ids"),
        ("ids=".to_owned(), "ids"),
        ("ids=x".to_owned(), "ids"),
        ("q=".to_owned(), "q"),
        ("q=%20".to_owned(), "q"),
        ("q=%00".to_owned(), "q"),
        (format!("q={}", "x".repeat(255)), "q"),
        ("guests=maybe".to_owned(), "guests"),
    ] {
        let problem = ann
            .get(&format!("/api/users?{query}"))
            .await
            .problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field, "{query}");
    }
    gus.get("/api/users?q=a").await.problem(403, "forbidden");
    app.stop().await;
}

#[actix_web::test]
async fn the_list_comes_in_pages() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let invite = ann.invite(conversation).await;
    for n in 0..4 {
        app.guest(&format!("Guest {n}"), &invite).await;
    }
    let (mut offset, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let page = ann
            .get(&format!("/api/users?limit=2&offset={offset}&guests=true"))
            .await
            .ok();
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => offset = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["Ann", "Guest 0", "Guest 1", "Guest 2", "Guest 3"]);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("page=1", "page"),
    ] {
        let problem = ann
            .get(&format!("/api/users?{query}"))
            .await
            .problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field, "{query}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn roles_limit_who_changes_whom() {
    let app = TestApp::start().await;
    let ([ann, bob, cid], _) = app.conversation_of(["Ann", "Bob", "Cid"]).await;
    change(&bob, &cid, json!({"tier": "premium"}))
        .await
        .problem(403, "forbidden");
    change(&bob, &bob, json!({"role": "admin"}))
        .await
        .problem(403, "forbidden");
    change(&bob, &bob, json!({"tier": "premium"}))
        .await
        .problem(403, "forbidden");
    change(&ann, &bob, json!({"role": "admin"})).await.ok();
    app.give_premium(&ann).await;
    // At once, with the token he had before.
    let premium = change(&bob, &cid, json!({"tier": "premium", "name": "Sid"})).await.ok();
    assert_eq!(
        (&premium["tier"], &premium["name"], &premium["role"]),
        (&json!("premium"), &json!("Sid"), &json!("member"))
    );
    for role in ["admin", "owner"] {
        change(&bob, &cid, json!({"role": role}))
            .await
            .problem(403, "forbidden");
    }
    change(&bob, &ann, json!({"role": "member"}))
        .await
        .problem(403, "forbidden");
    change(&bob, &ann, json!({"status": "suspended"}))
        .await
        .problem(403, "forbidden");
    change(&bob, &bob, json!({"status": "suspended"}))
        .await
        .problem(409, "conflict");
    change(&bob, &bob, json!({"role": "member"})).await.ok();
    change(&bob, &cid, json!({"tier": "regular"}))
        .await
        .problem(403, "forbidden");
    for (field, value) in [
        ("role", json!("emperor")),
        ("tier", json!(1)),
        ("status", json!("gone")),
        ("email", json!("x@y")),
    ] {
        let problem = change(&ann, &bob, json!({field: value}))
            .await
            .problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    change(&ann, &bob, json!({})).await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn a_tenant_keeps_an_owner_also_when_two_step_down_at_once() {
    let app = TestApp::start().await;
    let ([ann, bob], _) = app.conversation_of(["Ann", "Bob"]).await;
    for attempt in [json!({"role": "admin"}), json!({"role": "guest"})] {
        change(&ann, &ann, attempt).await.problem(409, "conflict");
    }
    change(&ann, &bob, json!({"role": "owner"})).await.ok();
    let step_down = || json!({"role": "member"});
    let (a, b) = futures_util::join!(change(&ann, &ann, step_down()), change(&bob, &bob, step_down()));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let sql = "SELECT count(*) FROM users WHERE role = 'owner' AND status = 'active'";
    assert_eq!(app.database.query(sql, &[]).await[0].get::<_, i64>(0), 1);
    app.stop().await;
}

#[actix_web::test]
async fn other_tenants_do_not_exist() {
    let app = TestApp::start().await;
    let (ann, eve) = (app.register("Ann").await, app.register("Eve").await);
    let nobody = Person {
        id: UserId::new(),
        ..ann.clone()
    };
    for whom in [&ann, &nobody] {
        let path = format!("/api/users/{}", whom.id);
        let read = eve.get(&path).await.problem(404, "not_found");
        let write = change(&eve, whom, json!({"status": "suspended"}))
            .await
            .problem(404, "not_found");
        assert_eq!(read["detail"], write["detail"], "nothing tells one from the other");
    }
    assert_eq!(names(&eve.get("/api/users").await.ok()), ["Eve"]);
    eve.get("/api/users/not-an-id").await.problem(400, "bad_request");
    app.stop().await;
}

#[actix_web::test]
async fn people_rename_themselves_and_owners_the_tenant() {
    let app = TestApp::start().await;
    let peer = app.peer_without_bus().await;
    let ([ann, bob], _) = app.conversation_of(["Ann", "Bob"]).await;
    let renamed = bob.patch("/api/me", json!({"name": " Robert "})).await.ok();
    assert_eq!(
        (&renamed["name"], &renamed["tenant"]["id"]),
        (&json!("Robert"), &json!(bob.tenant))
    );
    bob.patch("/api/me", json!({})).await.ok();
    bob.patch("/api/me", json!({"role": "owner"}))
        .await
        .problem(400, "bad_request");
    bob.patch("/api/me", json!({"name": "\u{7}"}))
        .await
        .problem(400, "bad_request");
    bob.patch("/api/tenant", json!({"name": "Mine"}))
        .await
        .problem(403, "forbidden");
    assert_eq!(
        ann.patch("/api/tenant", json!({"name": "Ours"})).await.ok()["name"],
        "Ours"
    );
    assert_eq!(bob.get("/api/tenant").await.ok()["name"], "Ours");
    // The name in the token is the old one; every node tells the new one.
    eventually("the other node knows the name", async || {
        let socket = bob.at(&peer).connect().await;
        let is_new = socket.hello()["user"]["name"] == "Robert";
        socket.close().await;
        is_new
    })
    .await;
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn a_promoted_guest_is_no_longer_confined() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let gus = app.guest("Gus", &ann.invite(conversation).await).await;
    gus.post("/api/conversations", json!({"title": "Own"}))
        .await
        .problem(403, "forbidden");
    change(&ann, &gus, json!({"role": "member", "tier": "regular"}))
        .await
        .ok();
    let own = gus.create_conversation("Own").await;
    assert!(gus.get(&format!("/api/conversations/{own}")).await.ok()["role"] == "owner");
    change(&ann, &gus, json!({"role": "guest"})).await.ok();
    gus.get(&format!("/api/conversations/{own}"))
        .await
        .problem(404, "not_found");
    app.stop().await;
}
