//! Links by which people come in: for how long they count, who has a say about them, and how many there are.

use crate::keys::key_of;
use crate::support::client::{PASSWORD, fresh_email};
use crate::support::{Answer, Person, Site, TestApp};
use futures_util::future::join_all;
use parlance::ids::ConversationId;
use reqwest::Method;
use serde_json::{Value, json};

fn invites(c: ConversationId) -> String {
    format!("/api/conversations/{c}/invites")
}

async fn sign_up(site: &Site, code: &str) -> Answer {
    let body = json!({"email": fresh_email("New"), "password": PASSWORD, "name": "New", "invite": code});
    site.request(Method::POST, "/auth/register", None, Some(body)).await
}

async fn enter(site: &Site, code: &str) -> Answer {
    let body = json!({"name": "Gus", "invite": code});
    site.request(Method::POST, "/auth/guest", None, Some(body)).await
}

async fn role(by: &Person, c: ConversationId, person: &Person, role: &str) {
    let path = format!("/api/conversations/{c}/members/{}", person.id);
    by.patch(&path, json!({"role": role})).await.ok();
}

async fn user(by: &Person, person: &Person, change: Value) {
    by.patch(&format!("/api/users/{}", person.id), change).await.ok();
}

/// The owner, somebody of the tenant who is not in the conversation, and a moderator with two links: one that they made
/// themselves, one that a program of theirs made.
struct House {
    app: TestApp,
    ann: Person,
    outsider: Person,
    moderator: Person,
    conversation: ConversationId,
    links: [String; 2],
}

impl House {
    async fn of() -> Self {
        let app = TestApp::start().await;
        let ([ann, moderator, outsider], conversation) = app.conversation_of(["Ann", "Moe", "Otto"]).await;
        outsider.remove_member(conversation, outsider.id).await.ok();
        role(&ann, conversation, &moderator, "moderator").await;
        let program = key_of(&moderator, &["chat"]).await.0;
        let links = [moderator.invite(conversation).await, program.invite(conversation).await];
        Self {
            app,
            ann,
            outsider,
            moderator,
            conversation,
            links,
        }
    }

    /// Whether the links let people in, on every way in which they could.
    async fn demand(&self, what: &str, open: bool) {
        for link in &self.links {
            let ways = [
                sign_up(&self.app, link).await,
                enter(&self.app, link).await,
                self.outsider.accept(link).await,
            ];
            for answer in ways {
                if open {
                    assert!((200..300).contains(&answer.status), "{what}: {}", answer.body);
                } else {
                    assert_eq!(answer.status, 404, "{what}: {}", answer.body);
                    answer.problem(404, "not_found");
                }
            }
            self.ann.remove_member(self.conversation, self.outsider.id).await.ok();
            // Whoever was removed does not come back by an older link: so that the next question is about its maker.
            let sql = "UPDATE conversation_members SET removed_by = user_id WHERE user_id = $1 RETURNING 1";
            self.app.database.query(sql, &[&self.outsider.id.0]).await;
        }
        let listed = self.ann.get(&invites(self.conversation)).await.ok();
        let of_moe: Vec<_> = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|invite| invite["created_by"] == json!(self.moderator.id))
            .collect();
        assert_eq!(of_moe.len(), 2);
        assert!(of_moe.iter().all(|invite| invite["usable"] == open), "{what}: {listed}");
    }
}

#[actix_web::test]
async fn a_link_counts_while_its_maker_may_invite() {
    let house = House::of().await;
    let (ann, moe, c) = (&house.ann, &house.moderator, house.conversation);
    house.demand("made by a moderator", true).await;
    user(ann, moe, json!({"status": "suspended"})).await;
    house.demand("the maker is suspended", false).await;
    user(ann, moe, json!({"status": "active"})).await;
    house.demand("the maker is active again", true).await;
    role(ann, c, moe, "member").await;
    house.demand("the maker is a plain member", false).await;
    role(ann, c, moe, "moderator").await;
    user(ann, moe, json!({"role": "guest"})).await;
    house.demand("the maker is a guest of the tenant", false).await;
    user(ann, moe, json!({"role": "member"})).await;
    house.demand("the maker is a moderator again", true).await;
    ann.remove_member(c, moe.id).await.ok();
    house.demand("the maker was removed", false).await;
    ann.add_member(c, moe.id, "moderator").await.ok();
    house.demand("the maker came back as one who invites", true).await;
    moe.remove_member(c, moe.id).await.ok();
    house.demand("the maker left", false).await;
    // They cannot bring themselves back either.
    for link in &house.links {
        moe.accept(link).await.problem(404, "not_found");
    }
    house.app.stop().await;
}

/// A guest sees one conversation. By a link of their own they would be somebody else, who sees the tenant.
#[actix_web::test]
async fn guests_make_no_links() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let gus = app.guest("Gus", &ann.invite(c).await).await;
    role(&ann, c, &gus, "moderator").await;
    gus.post(&invites(c), json!({})).await.problem(403, "forbidden");
    gus.get(&invites(c)).await.problem(403, "forbidden");
    app.stop().await;
}

/// The other node has them as a moderator in memory, and hears of nothing.
#[actix_web::test]
async fn who_was_removed_does_nothing_with_links_at_another_node() {
    let house = House::of().await;
    let (ann, moe, c) = (&house.ann, &house.moderator, house.conversation);
    let elsewhere = house.app.peer_without_bus().await;
    let there = moe.at(&elsewhere);
    let made = there.post(&invites(c), json!({})).await.ok();
    let path = format!("{}/{}", invites(c), made["id"].as_str().unwrap());
    // Awake there, with everything it needs to know.
    there
        .patch(&format!("/api/conversations/{c}"), json!({"title": "Ours"}))
        .await
        .ok();
    role(ann, c, moe, "member").await;
    for answer in [
        there.post(&invites(c), json!({})).await,
        there.get(&invites(c)).await,
        there.delete(&path).await,
    ] {
        answer.problem(403, "forbidden");
    }
    ann.remove_member(c, moe.id).await.ok();
    for answer in [
        there.post(&invites(c), json!({})).await,
        there.get(&invites(c)).await,
        there.delete(&path).await,
    ] {
        answer.problem(404, "not_found");
    }
    let sql = "SELECT count(*) FROM invites WHERE created_by = $1";
    let n: i64 = house.app.database.query(sql, &[&moe.id.0]).await[0].get(0);
    assert_eq!(n, 3, "those from before");
    elsewhere.stop().await;
    house.app.stop().await;
}

/// A token is believed until a node hears of a change; what is written asks the row. (Suspension: `access_matrix`.)
#[actix_web::test]
async fn who_was_demoted_changes_nothing_while_the_node_does_not_know() {
    let app = TestApp::start().await;
    let ([ann, bob], _) = app.conversation_of(["Ann", "Bob"]).await;
    user(&ann, &bob, json!({"role": "admin"})).await;
    bob.patch("/api/tenant", json!({"name": "Ours"})).await.ok();
    // Without an event, earlier ones included, so that this node never hears of it.
    let demote = async |role: &str| {
        let sql = "WITH quiet AS (DELETE FROM auth_events WHERE user_id = $1) \
                   UPDATE users SET role = $2 WHERE id = $1 RETURNING 1";
        app.database.query(sql, &[&bob.id.0, &role]).await;
    };
    demote("member").await;
    for answer in [
        bob.patch("/api/tenant", json!({"name": "Mine"})).await,
        bob.patch("/api/tenant", json!({"admits_guests": "nobody"})).await,
        bob.get("/api/tenant/invites").await,
        bob.delete("/api/tenant/invites").await,
    ] {
        answer.problem(403, "forbidden");
    }
    demote("guest").await;
    let answer = bob.post("/api/conversations", json!({"title": "A guest's"})).await;
    answer.problem(403, "forbidden");
    let open = ann.get("/api/tenant/invites").await.ok();
    assert_eq!(open["items"].as_array().unwrap().len(), 1, "nothing was withdrawn");
    let sql = "SELECT name, admits_guests FROM tenants WHERE id = $1";
    let row = &app.database.query(sql, &[&ann.tenant.0]).await[0];
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("Ours", "moderators"));
    app.stop().await;
}

#[actix_web::test]
async fn admins_see_and_withdraw_all_links_of_the_tenant() {
    let app = TestApp::start().await;
    let ([ann, bob, zoe], c) = app.conversation_of(["Ann", "Bob", "Zoe"]).await;
    let private = bob.create_conversation("Between us").await;
    let links = [bob.invite(private).await, bob.invite(private).await];
    bob.remove_member(c, bob.id).await.ok();
    let stranger = app.register("Stranger").await;
    let list = ann.get("/api/tenant/invites").await.ok();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    let newest = json!({"id": private, "title": null});
    assert_eq!(items[0]["conversation"], newest, "admins read what they are members of");
    assert_eq!(items[0]["created_by"], json!({"id": bob.id, "name": "Bob"}));
    assert_eq!(items[2]["conversation"], json!({"id": c, "title": "Test"}));
    assert!(items.iter().all(|item| item["usable"] == true));
    for link in &links {
        assert!(!list.to_string().contains(link), "with the code they could join");
    }
    // By pages, and only some of them.
    let first = ann.get("/api/tenant/invites?limit=2").await.ok();
    let next = first["next"].as_str().unwrap();
    let rest = ann
        .get(&format!("/api/tenant/invites?limit=2&cursor={next}"))
        .await
        .ok();
    assert_eq!(
        (rest["items"][0]["id"].clone(), &rest["next"]),
        (items[2]["id"].clone(), &Value::Null)
    );
    let of_bob = ann
        .get(&format!("/api/tenant/invites?created_by={}", bob.id))
        .await
        .ok();
    assert_eq!(of_bob["items"].as_array().unwrap().len(), 2);
    let here = ann.get(&format!("/api/tenant/invites?conversation={c}")).await.ok();
    assert_eq!(here["items"].as_array().unwrap().len(), 1);
    // Nobody else: not the maker, not a key without the scope, not the owner of another tenant.
    let one = format!("/api/tenant/invites/{}", items[0]["id"].as_str().unwrap());
    let program = key_of(&ann, &["chat"]).await.0;
    for person in [&bob, &zoe, &program] {
        person.get("/api/tenant/invites").await.problem(403, "forbidden");
        person.delete("/api/tenant/invites").await.problem(403, "forbidden");
        person.delete(&one).await.problem(403, "forbidden");
    }
    assert_eq!(stranger.get("/api/tenant/invites").await.ok()["items"], json!([]));
    assert_eq!(stranger.delete("/api/tenant/invites").await.ok()["withdrawn"], 0);
    stranger.delete(&one).await.problem(404, "not_found");
    enter(&app, &links[1]).await.ok();
    ann.delete(&one).await.ok();
    ann.delete(&one).await.problem(404, "not_found");
    enter(&app, &links[1]).await.problem(404, "not_found");
    enter(&app, &links[0]).await.ok();
    let withdrawn = ann
        .delete(&format!("/api/tenant/invites?created_by={}", bob.id))
        .await
        .ok();
    assert_eq!(withdrawn["withdrawn"], 1);
    enter(&app, &links[0]).await.problem(404, "not_found");
    assert_eq!(
        key_of(&ann, &["admin"])
            .await
            .0
            .delete("/api/tenant/invites")
            .await
            .ok()["withdrawn"],
        1
    );
    assert_eq!(ann.get("/api/tenant/invites").await.ok()["items"], json!([]));
    app.stop().await;
}

#[actix_web::test]
async fn a_tenant_says_whose_links_let_outsiders_in_and_as_what() {
    let house = House::of().await;
    let (app, ann) = (&house.app, &house.ann);
    let owners = ann.invite(house.conversation).await;
    let moderators = &house.links[0];
    let set = async |members: &str, guests: &str| {
        let change = json!({"admits_members": members, "admits_guests": guests});
        let tenant = ann.patch("/api/tenant", change.clone()).await.ok();
        assert_eq!(tenant["admits_members"], change["admits_members"]);
        assert_eq!(tenant["admits_guests"], change["admits_guests"]);
        assert_eq!(house.outsider.get("/api/tenant").await.ok(), tenant);
    };
    let before = ann.get("/api/tenant").await.ok();
    assert_eq!(
        (&before["admits_members"], &before["admits_guests"]),
        (&json!("moderators"), &json!("moderators"))
    );
    for (members, guests, expected) in [
        // Whether the links of the moderator and of the owner let in: a member, a guest.
        ("admins", "moderators", [[false, true], [true, true]]),
        ("nobody", "admins", [[false, false], [false, true]]),
        ("moderators", "nobody", [[true, false], [true, false]]),
    ] {
        set(members, guests).await;
        for (link, [member, guest]) in [moderators, &owners].into_iter().zip(expected) {
            for (answer, open) in [(sign_up(app, link).await, member), (enter(app, link).await, guest)] {
                if open {
                    assert_eq!(answer.status, 201, "{members} {guests}: {}", answer.body);
                } else {
                    assert!(
                        answer.problem(403, "forbidden")["detail"]
                            .as_str()
                            .unwrap()
                            .contains("workspace")
                    );
                }
            }
        }
    }
    set("nobody", "nobody").await;
    // It is about outsiders: the tenant's own people join as before.
    house.outsider.accept(moderators).await.ok();
    house
        .moderator
        .patch("/api/tenant", json!({"admits_members": "moderators"}))
        .await
        .problem(403, "forbidden");
    ann.patch("/api/tenant", json!({"admits_guests": "everybody"}))
        .await
        .problem(400, "bad_request");
    house.app.stop().await;
}

/// Many at the same moment: each was counted before the others were there, unless they wait for each other.
#[actix_web::test]
async fn many_at_once_do_not_get_past_a_limit() {
    let app = TestApp::with(|config| (config.database.pool_size, config.database.max_overflow) = (10, 10)).await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let path = invites(c);
    let count = async |sql: &str| app.database.query(sql, &[]).await[0].get::<_, i64>(0);
    for (path, body, limit, sql) in [
        (&*path, json!({}), 100, "SELECT count(*) FROM invites"),
        ("/auth/ticket", json!({}), 100, "SELECT count(*) FROM socket_tickets"),
        (
            "/api/keys",
            json!({"name": "x", "scopes": ["chat"]}),
            50,
            "SELECT count(*) FROM api_keys",
        ),
    ] {
        // All but the last few, in turn; then many for these.
        let sure = limit - 5;
        for _ in 0..sure {
            ann.post(path, body.clone()).await.ok();
        }
        let answers = join_all((0..40).map(|_| ann.post(path, body.clone()))).await;
        let made = answers
            .iter()
            .filter(|answer| (200..300).contains(&answer.status))
            .count();
        assert_eq!((made, count(sql).await), (5, limit), "{path}");
        for answer in answers.into_iter().filter(|answer| answer.status >= 300) {
            answer.problem(409, "limit_reached");
        }
    }
    app.stop().await;
}
