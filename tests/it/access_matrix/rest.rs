//! The routes: a row for each, who is refused by what it needs, and two ways round that people try: ids of two places in
//! one request, and changing who one is.

use super::*;
use std::collections::BTreeSet;

/// What a route needs; from it follows who is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing, and it changes nothing.
    Nothing,
    /// No credentials, but something that this request does not have: so everybody is refused like this.
    Input(u16, &'static str),
    /// Somebody.
    Account,
    /// Somebody who is not a program.
    Person,
    /// And no guest either.
    PersonNoGuest,
    /// The one whose key it is.
    OwnKey,
    /// A key with `chat`, or a person.
    Chat,
    /// And no guest either.
    ChatNoGuest,
    /// And somebody of the tenant.
    ChatHere,
    /// Somebody of the tenant who may see that user.
    Sight,
    /// An admin: of their own tenant, or of this one.
    Admin,
    AdminHere,
    /// Roles in the conversation.
    Member,
    Moderator,
    Owner,
    /// Who wrote the message; or also a moderator.
    Author,
    AuthorOrModerator,
    /// Somebody whom the invitation is for.
    Invited,
}

type Refusal = (Who, u16, &'static str);

/// Whose credentials are not good, whatever for.
const WITHOUT_CREDENTIALS: [Refusal; 8] = [
    (Who::Nobody, 401, "unauthenticated"),
    (Who::Garbage, 401, "unauthenticated"),
    (Who::LoggedOut, 401, "unauthenticated"),
    (Who::KeyInCookie, 401, "unauthenticated"),
    (Who::DeletedKey, 401, "unauthenticated"),
    (Who::ExpiredKey, 401, "unauthenticated"),
    (Who::Suspended, 403, "forbidden"),
    (Who::SuspendedKey, 403, "forbidden"),
];

/// To whom the conversation does not exist.
const NOT_IN_IT: [Refusal; 6] = [
    (Who::Stranger, 404, "not_found"),
    (Who::Boss, 404, "not_found"),
    (Who::Outsider, 404, "not_found"),
    (Who::Removed, 404, "not_found"),
    (Who::GuestElsewhere, 404, "not_found"),
    (Who::Demoted, 404, "not_found"),
];

fn forbidden(who: &[Who]) -> Vec<Refusal> {
    who.iter().map(|who| (*who, 403, "forbidden")).collect()
}

fn not_found(who: &[Who]) -> Vec<Refusal> {
    who.iter().map(|who| (*who, 404, "not_found")).collect()
}

fn in_conversation(too_low: &[Who]) -> Vec<Refusal> {
    let mut refusals = NOT_IN_IT.to_vec();
    refusals.extend(forbidden(&[Who::AdminKey, Who::DemotedKey]));
    refusals.extend(forbidden(too_low));
    refusals
}

/// Who is refused what needs this, and how.
fn refusals(needs: Needs, method: &Method) -> Vec<Refusal> {
    use Who::{
        AdminKey, AllKey, Boss, ChatKey, Demoted, DemotedKey, GuestElsewhere, GuestHere, Moderator, Outsider, Owner,
        Plain, Removed, Stranger,
    };
    let own = match needs {
        Needs::Nothing => return Vec::new(),
        Needs::Input(status, code) => {
            let everybody = [Who::Nobody, Who::Garbage, Stranger, Owner, AllKey, Who::Suspended];
            return everybody.map(|who| (who, status, code)).to_vec();
        }
        Needs::Account => forbidden(&[DemotedKey]),
        Needs::Person => forbidden(&[AllKey, AdminKey, ChatKey, DemotedKey]),
        Needs::PersonNoGuest => forbidden(&[
            AllKey,
            AdminKey,
            ChatKey,
            DemotedKey,
            GuestHere,
            GuestElsewhere,
            Demoted,
        ]),
        Needs::OwnKey => {
            let mut refusals = forbidden(&[AllKey, AdminKey, ChatKey, DemotedKey]);
            refusals.extend(not_found(&[Stranger, Boss, Plain, Outsider, GuestHere, Demoted]));
            refusals
        }
        Needs::Chat => forbidden(&[AdminKey, DemotedKey]),
        Needs::ChatHere => [forbidden(&[AdminKey, DemotedKey]), not_found(&[Stranger])].concat(),
        Needs::ChatNoGuest => forbidden(&[AdminKey, DemotedKey, GuestHere, GuestElsewhere, Demoted]),
        Needs::Sight => {
            let mut refusals = forbidden(&[AdminKey, DemotedKey]);
            refusals.extend(not_found(&[Stranger, GuestElsewhere, Demoted]));
            refusals
        }
        Needs::Admin | Needs::AdminHere => {
            let mut refusals = forbidden(&[
                ChatKey,
                DemotedKey,
                Plain,
                Moderator,
                Outsider,
                Removed,
                GuestHere,
                GuestElsewhere,
                Demoted,
            ]);
            if needs == Needs::AdminHere {
                refusals.extend(not_found(&[Stranger]));
            }
            refusals
        }
        Needs::Member => in_conversation(&[]),
        Needs::Moderator => in_conversation(&[Plain, GuestHere]),
        Needs::Owner => in_conversation(&[Plain, GuestHere, Moderator]),
        Needs::Author => in_conversation(&[GuestHere, Moderator, Owner, AllKey]),
        Needs::AuthorOrModerator => in_conversation(&[GuestHere]),
        Needs::Invited => {
            let mut refusals = not_found(&[Stranger, Removed, GuestElsewhere, Demoted]);
            refusals.extend(forbidden(&[AdminKey, DemotedKey]));
            refusals
        }
    };
    let mut refusals = WITHOUT_CREDENTIALS.to_vec();
    if !method.is_safe() {
        refusals.push((Who::ForeignPage, 403, "forbidden"));
    }
    refusals.extend(own);
    refusals
}

/// A request to a route.
struct Row {
    method: Method,
    template: &'static str,
    path: String,
    body: Option<Value>,
    needs: Needs,
    /// Who may, at the end.
    may: Option<Who>,
}

/// The rows, in an order in which they can all be done: what ends something comes last.
#[allow(clippy::too_many_lines, reason = "a table, which is read as one")]
fn rows(world: &World) -> Vec<Row> {
    let (c, m, plain, other) = (
        world.conversation,
        world.message,
        world.person(Who::Plain).id,
        world.other.id,
    );
    let (invite, code) = &world.invite;
    let row = |method: &str, template: &'static str, body: Value, needs: Needs, may: Option<Who>| {
        let path = template
            .replace("/api/keys/{id}", &format!("/api/keys/{}", world.spare_key))
            .replace("/api/users/{id}", &format!("/api/users/{plain}"))
            .replace("{id}", &c.to_string())
            .replace("{message_id}", &m.to_string())
            .replace("{user_id}", &other.to_string())
            .replace("{invite_id}", invite)
            .replace("{code}", code)
            .replace("/api/search", "/api/search?q=harbour");
        Row {
            method: method.parse().unwrap(),
            template,
            path,
            body: (!body.is_null()).then_some(body),
            needs,
            may,
        }
    };
    let get = |template, needs| row("GET", template, Value::Null, needs, Some(Who::Owner));
    let owner = Some(Who::Owner);
    let newcomer = json!({"email": "eve@example.org", "password": PASSWORD, "name": "Eve", "invite": "nonsense"});
    let login = json!({"email": world.person(Who::Owner).email, "password": "not the right one"});
    vec![
        get("/health", Needs::Nothing),
        get("/health/live", Needs::Nothing),
        get("/health/ready", Needs::Nothing),
        get("/metrics", Needs::Nothing),
        row("POST", "/auth/register", newcomer, Needs::Input(404, "not_found"), None),
        row(
            "POST",
            "/auth/guest",
            json!({"name": "Eve", "invite": "nonsense"}),
            Needs::Input(404, "not_found"),
            None,
        ),
        row("POST", "/auth/login", login, Needs::Input(401, "unauthenticated"), None),
        row(
            "POST",
            "/auth/refresh",
            Value::Null,
            Needs::Input(401, "unauthenticated"),
            None,
        ),
        row("POST", "/auth/ticket", Value::Null, Needs::Person, owner),
        row("GET", "/ws", Value::Null, Needs::Chat, None),
        get("/api/keys", Needs::Person),
        row(
            "POST",
            "/api/keys",
            json!({"name": "x", "scopes": ["chat"]}),
            Needs::PersonNoGuest,
            owner,
        ),
        row("DELETE", "/api/keys/{id}", Value::Null, Needs::OwnKey, owner),
        get("/api/me", Needs::Account),
        row("PATCH", "/api/me", json!({"name": "Renamed"}), Needs::Account, owner),
        get("/api/me/blocks", Needs::Chat),
        row(
            "POST",
            "/api/me/blocks",
            json!({"user_id": other}),
            Needs::ChatHere,
            owner,
        ),
        row("DELETE", "/api/me/blocks/{user_id}", Value::Null, Needs::Chat, owner),
        get("/api/tenant", Needs::Account),
        row("PATCH", "/api/tenant", json!({"name": "Renamed"}), Needs::Admin, owner),
        get("/api/tenant/invites", Needs::Admin),
        get("/api/users", Needs::ChatNoGuest),
        get("/api/users/{id}", Needs::Sight),
        row(
            "PATCH",
            "/api/users/{id}",
            json!({"tier": "premium"}),
            Needs::AdminHere,
            owner,
        ),
        get("/api/conversations", Needs::Chat),
        row(
            "POST",
            "/api/conversations",
            json!({"title": "x", "members": [plain]}),
            Needs::ChatNoGuest,
            owner,
        ),
        get("/api/search", Needs::Chat),
        get("/api/analytics/summary", Needs::Admin),
        get("/api/analytics/messages", Needs::Admin),
        get("/api/analytics/users/active", Needs::Admin),
        get("/api/analytics/users/top", Needs::Admin),
        get("/api/analytics/conversations/top", Needs::Admin),
        get("/api/analytics/heatmap", Needs::Admin),
        get("/api/analytics/latency", Needs::Admin),
        get("/api/analytics/export", Needs::Admin),
        get("/api/me/usage", Needs::Account),
        get("/api/conversations/{id}", Needs::Member),
        get("/api/conversations/{id}/messages", Needs::Member),
        get("/api/conversations/{id}/members", Needs::Member),
        get("/api/conversations/{id}/invites", Needs::Moderator),
        row(
            "POST",
            "/api/conversations/{id}/messages",
            json!({"id": MessageId::new(), "body": "x"}),
            Needs::Member,
            Some(Who::Plain),
        ),
        row(
            "PATCH",
            "/api/conversations/{id}",
            json!({"title": "x"}),
            Needs::Moderator,
            Some(Who::Moderator),
        ),
        row(
            "PATCH",
            "/api/conversations/{id}/messages/{message_id}",
            json!({"body": "x"}),
            Needs::Author,
            Some(Who::Plain),
        ),
        row(
            "DELETE",
            "/api/conversations/{id}/messages/{message_id}",
            Value::Null,
            Needs::AuthorOrModerator,
            Some(Who::Moderator),
        ),
        row(
            "POST",
            "/api/conversations/{id}/members",
            json!({"user_id": world.person(Who::Outsider).id}),
            Needs::Moderator,
            Some(Who::Moderator),
        ),
        row(
            "PATCH",
            "/api/conversations/{id}/members/{user_id}",
            json!({"role": "moderator"}),
            Needs::Owner,
            owner,
        ),
        row(
            "DELETE",
            "/api/conversations/{id}/members/{user_id}",
            Value::Null,
            Needs::Moderator,
            owner,
        ),
        row(
            "POST",
            "/api/conversations/{id}/invites",
            json!({}),
            Needs::Moderator,
            Some(Who::Moderator),
        ),
        row(
            "POST",
            "/api/invites/{code}/accept",
            Value::Null,
            Needs::Invited,
            Some(Who::Outsider),
        ),
        row(
            "DELETE",
            "/api/conversations/{id}/invites/{invite_id}",
            Value::Null,
            Needs::Moderator,
            Some(Who::Moderator),
        ),
        row(
            "DELETE",
            "/api/tenant/invites/{invite_id}",
            Value::Null,
            Needs::AdminHere,
            None,
        ),
        row(
            "POST",
            "/api/conversations/leave",
            json!({"conversations": [c]}),
            Needs::Chat,
            owner,
        ),
        row("DELETE", "/api/tenant/invites", Value::Null, Needs::Admin, owner),
        row("DELETE", "/api/conversations/{id}", Value::Null, Needs::Owner, owner),
        row(
            "POST",
            "/api/me/password",
            json!({"password": PASSWORD, "new_password": "another harbour at dusk"}),
            Needs::Person,
            Some(Who::Plain),
        ),
        row("POST", "/auth/logout", Value::Null, Needs::Person, owner),
        row("POST", "/auth/logout-all", Value::Null, Needs::Person, Some(Who::Plain)),
    ]
}

#[actix_web::test]
async fn everybody_else_is_refused_everything() {
    let world = World::make().await;
    let rows = rows(&world);
    let known: BTreeSet<_> = rows
        .iter()
        .map(|row| (row.template.to_owned(), row.method.to_string()))
        .collect();
    for (path, method) in parlance::http::documented_routes() {
        let has_row = known.contains(&(path.clone(), method.to_owned()));
        assert!(has_row, "no row for {method} {path}");
    }
    let before = world.digest().await;
    let mut asked = 0;
    for row in &rows {
        for (who, status, code) in refusals(row.needs, &row.method) {
            for answer in world.ask(who, &row.method, &row.path, row.body.as_ref()).await {
                asked += 1;
                let place = format!("{} {} by {who:?}", row.method, row.template);
                assert_eq!(
                    (answer.status, &answer.body["code"]),
                    (status, &json!(code)),
                    "{place}: {}",
                    answer.body
                );
                assert!(!answer.body.to_string().contains(SECRET), "{place}");
                answer.problem(status, code);
            }
        }
        assert_eq!(
            world.digest().await,
            before,
            "{} {} changed something",
            row.method,
            row.template
        );
    }
    assert!(asked > 600, "{asked}");
    blind(&world, &rows).await;
    for row in &rows {
        let Some(who) = row.may else { continue };
        for answer in world.ask(who, &row.method, &row.path, row.body.as_ref()).await {
            let place = format!("{} {} by {who:?}", row.method, row.template);
            assert!(
                (200..300).contains(&answer.status),
                "{place}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    world.app.stop().await;
}

/// Lists are answered to everybody, and hold nothing of what the caller may not see.
async fn blind(world: &World, rows: &[Row]) {
    let id = |who| world.person(who).id.to_string();
    for (template, hidden, from) in [
        (
            "/api/conversations",
            vec![world.conversation.to_string(), SECRET.to_owned()],
            &[
                Who::Stranger,
                Who::Boss,
                Who::Outsider,
                Who::Removed,
                Who::GuestElsewhere,
                Who::Demoted,
            ][..],
        ),
        (
            "/api/search",
            vec![world.conversation.to_string(), SECRET.to_owned()],
            &[
                Who::Stranger,
                Who::Boss,
                Who::Outsider,
                Who::Removed,
                Who::GuestElsewhere,
                Who::Demoted,
            ],
        ),
        ("/api/users", vec![id(Who::Plain), id(Who::Owner)], &[Who::Stranger]),
        (
            "/api/users",
            vec!["@example.org".to_owned()],
            &[Who::Plain, Who::Outsider, Who::ChatKey],
        ),
        (
            "/api/users/{id}",
            vec!["@example.org".to_owned()],
            &[Who::Outsider, Who::ChatKey, Who::GuestHere],
        ),
        (
            "/api/keys",
            vec![world.spare_key.clone()],
            &[Who::Stranger, Who::Boss, Who::Plain, Who::GuestHere],
        ),
    ] {
        let row = rows
            .iter()
            .find(|row| row.template == template && row.method == Method::GET)
            .unwrap();
        for who in from {
            for answer in world.ask(*who, &row.method, &row.path, None).await {
                let seen = answer.ok().to_string();
                let own = world.person(*who).email.clone().unwrap_or_default();
                let seen = seen.replace(&own, "");
                for hidden in &hidden {
                    assert!(!seen.contains(hidden), "{who:?} sees {hidden} in {template}: {seen}");
                }
            }
        }
    }
}

/// What is another's is not reached through what is one's own: ids of two places in one request.
#[actix_web::test]
async fn paths_do_not_mix() {
    let world = World::make().await;
    let outsider = world.person(Who::Outsider);
    let mine = outsider.create_conversation("Mine").await;
    let stranger = world.person(Who::Stranger);
    let (m, plain) = (world.message, world.person(Who::Plain).id);
    let (theirs, guest) = (
        stranger.create_conversation("Theirs").await,
        world.person(Who::GuestHere),
    );
    let mine = format!("/api/conversations/{mine}");
    let theirs = format!("/api/conversations/{theirs}");
    let before = world.digest().await;
    let reply = json!({"id": MessageId::new(), "body": "x", "reply_to": m});
    for (who, method, path, body, code) in [
        (
            outsider,
            Method::PATCH,
            format!("{mine}/messages/{m}"),
            json!({"body": "x"}),
            "not_found",
        ),
        (
            outsider,
            Method::DELETE,
            format!("{mine}/messages/{m}"),
            Value::Null,
            "not_found",
        ),
        (outsider, Method::POST, format!("{mine}/messages"), reply, "not_found"),
        (
            outsider,
            Method::DELETE,
            format!("{mine}/invites/{}", world.invite.0),
            Value::Null,
            "not_found",
        ),
        (
            outsider,
            Method::DELETE,
            format!("{mine}/members/{plain}"),
            Value::Null,
            "not_found",
        ),
        (
            outsider,
            Method::PATCH,
            format!("{mine}/members/{plain}"),
            json!({"role": "owner"}),
            "not_found",
        ),
        (
            outsider,
            Method::POST,
            format!("{mine}/members"),
            json!({"user_id": guest.id}),
            "forbidden",
        ),
        (
            outsider,
            Method::POST,
            format!("{mine}/members"),
            json!({"user_id": stranger.id}),
            "not_found",
        ),
        (
            stranger,
            Method::POST,
            format!("{theirs}/members"),
            json!({"user_id": plain}),
            "not_found",
        ),
        (
            stranger,
            Method::PATCH,
            format!("{theirs}/messages/{m}"),
            json!({"body": "x"}),
            "not_found",
        ),
        (
            stranger,
            Method::DELETE,
            format!("{theirs}/invites/{}", world.invite.0),
            Value::Null,
            "not_found",
        ),
        (
            stranger,
            Method::POST,
            "/api/conversations".to_owned(),
            json!({"title": "x", "members": [plain]}),
            "not_found",
        ),
        // The id of a message is the tenant's: what was posted elsewhere is neither taken over nor shown.
        (
            outsider,
            Method::POST,
            format!("{mine}/messages"),
            json!({"id": m, "body": SECRET}),
            "conflict",
        ),
    ] {
        let body = (!body.is_null()).then_some(body);
        let answer = world.app.request(method.clone(), &path, Some(&who.token), body).await;
        assert_eq!(answer.body["code"], code, "{method} {path}: {}", answer.body);
    }
    assert_eq!(world.digest().await, before);
    world.app.stop().await;
}

/// An admin who is suspended while a node does not know of it does not use that node to undo it.
#[actix_web::test]
async fn nobody_outruns_their_suspension() {
    let world = World::make().await;
    let owner = world.person(Who::Owner);
    let ticket = owner.post("/auth/ticket", Value::Null).await.ok()["ticket"].clone();
    // Without an event, earlier ones included, so that this node never hears of it.
    let sql = "WITH quiet AS (DELETE FROM auth_events WHERE user_id = $1) \
               UPDATE users SET status = 'suspended' WHERE id = $1 RETURNING 1";
    world.app.database.query(sql, &[&owner.id.0]).await;
    owner.get("/api/me").await.ok();
    let before = world.digest().await;
    let path = format!("/api/users/{}", owner.id);
    for change in [
        json!({"status": "active"}),
        json!({"status": "active", "tier": "premium"}),
    ] {
        owner.patch(&path, change).await.problem(403, "forbidden");
    }
    // Nor to do to others what they may not do any more.
    let plain = format!("/api/users/{}", world.person(Who::Plain).id);
    owner
        .patch(&plain, json!({"tier": "premium"}))
        .await
        .problem(403, "forbidden");
    owner
        .post("/api/keys", json!({"name": "x", "scopes": ["chat"]}))
        .await
        .problem(403, "forbidden");
    let answer = owner.patch("/api/me", json!({"name": "Still here"})).await;
    answer.problem(403, "forbidden");
    let answer = owner.patch("/api/tenant", json!({"name": "Still mine"})).await;
    answer.problem(403, "forbidden");
    owner.delete("/api/tenant/invites").await.problem(403, "forbidden");
    owner.post("/auth/ticket", Value::Null).await.problem(403, "forbidden");
    assert_eq!(world.digest().await, before);
    // Nor with a ticket from before, which is spent by it.
    let ticket = ticket.as_str().unwrap();
    let request = world.app.http().get(world.app.url(&format!("/ws?ticket={ticket}")));
    let answer = Site::read(request.send().await.unwrap()).await.unwrap();
    answer.problem(403, "forbidden");
    let sql = "SELECT count(*) FROM socket_tickets";
    assert_eq!(world.app.database.query(sql, &[]).await[0].get::<_, i64>(0), 0);
    world.app.stop().await;
}

/// Nobody makes themselves, or others, more than they are.
#[actix_web::test]
async fn nobody_climbs() {
    let world = World::make().await;
    let (boss, owner, plain) = (
        world.person(Who::Boss),
        world.person(Who::Owner),
        world.person(Who::Plain),
    );
    let before = world.digest().await;
    let tries = [
        // An admin, and their key, against an owner; to be an owner; to make one.
        (Who::Owner, boss, json!({"role": "member"}), 403),
        (Who::Owner, boss, json!({"status": "suspended"}), 403),
        (Who::Owner, boss, json!({"name": "Boss no more"}), 403),
        (Who::Owner, owner, json!({"role": "owner"}), 403),
        (Who::Owner, plain, json!({"role": "admin"}), 403),
        (Who::Owner, plain, json!({"role": "owner"}), 403),
        (Who::AllKey, owner, json!({"role": "owner"}), 403),
        (Who::AdminKey, boss, json!({"status": "suspended"}), 403),
        (Who::Owner, owner, json!({"status": "suspended"}), 409),
        // A member about themselves.
        (Who::Plain, plain, json!({"role": "admin"}), 403),
        (Who::Plain, plain, json!({"tier": "premium"}), 403),
        (Who::Plain, plain, json!({"name": "Plain", "status": "active"}), 403),
        (
            Who::GuestHere,
            world.person(Who::GuestHere),
            json!({"role": "member"}),
            403,
        ),
        // The last owner stays.
        (Who::Boss, boss, json!({"role": "admin"}), 409),
        (Who::Boss, boss, json!({"status": "suspended"}), 409),
    ];
    for (who, whom, change, status) in tries {
        let path = format!("/api/users/{}", whom.id);
        for answer in world.ask(who, &Method::PATCH, &path, Some(&change)).await {
            assert_eq!(answer.status, status, "{who:?} {change}: {}", answer.body);
        }
    }
    for (who, input) in [
        (Who::Plain, json!({"name": "x", "role": "admin"})),
        (Who::Plain, json!({"name": "x", "tier": "premium"})),
    ] {
        for answer in world.ask(who, &Method::PATCH, "/api/me", Some(&input)).await {
            answer.problem(400, "bad_request");
        }
    }
    assert_eq!(world.digest().await, before);
    world.app.stop().await;
}
