//! Who may not: every route and every client frame, asked for by everybody who must be refused.
//!
//! One world (two tenants, a conversation with one of each role, people who are not in it any more, keys of all kinds), one
//! row for each route of the OpenAPI document and each frame of the AsyncAPI document; a route or frame without a row fails.
//! From what a row needs follows who is refused and how (`refusals`). A refusal must have the right status and code, and the
//! whole database must be as before. Then the same requests are made by somebody who may, so that none was refused for
//! another reason than the one that is meant.

mod rest;
mod socket;

use crate::keys::key_of;
use crate::support::client::PASSWORD;
use crate::support::{Answer, Person, Site, Socket, TestApp, eventually};
use parlance::ids::{ConversationId, MessageId};
use reqwest::Method;
use serde_json::{Value, json};

/// What nobody outside of the conversation may ever be sent.
const SECRET: &str = "the harbour is closed at dawn";

/// Those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Without credentials.
    Nobody,
    /// With credentials that are none.
    Garbage,
    /// The owner's login that was ended.
    LoggedOut,
    /// The owner's cookie, sent along by a page of another site.
    ForeignPage,
    /// The owner's key, in a cookie.
    KeyInCookie,
    /// A key of the owner that was deleted, and one that ran out.
    DeletedKey,
    ExpiredKey,
    /// A member who was suspended, and their key.
    Suspended,
    SuspendedKey,
    /// The owner of another tenant.
    Stranger,
    /// The owner of the tenant, who is not a member of the conversation.
    Boss,
    /// Of the tenant, never a member.
    Outsider,
    /// Was a member, and was removed.
    Removed,
    /// A guest of another conversation, and one of this.
    GuestElsewhere,
    GuestHere,
    /// A member who became a guest of the tenant, and their key.
    Demoted,
    DemotedKey,
    /// Members by role. The owner of the conversation is an admin of the tenant.
    Plain,
    Moderator,
    Owner,
    /// Keys of the owner: with `chat`, with everything but `chat`, with everything.
    ChatKey,
    AdminKey,
    AllKey,
}

/// What is no credential.
const GARBAGE: [&str; 7] = [
    "garbage",
    "pk_",
    "pk_garbage",
    "pk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.e30.",
    "null",
    "' OR true --",
];

struct World {
    app: TestApp,
    conversation: ConversationId,
    /// A message of the plain member.
    message: MessageId,
    /// An open invitation from before everything: its id and code.
    invite: (String, String),
    /// A member whom requests are about.
    other: Person,
    /// A key of the owner that requests are about.
    spare_key: String,
    people: Vec<(Who, Person)>,
}

impl World {
    async fn make() -> Self {
        let app = TestApp::start().await;
        let (boss, elsewhere) = app.person_with_conversation("Boss").await;
        let other_invite = boss.invite(elsewhere).await;
        let owner = app.join("Owner", &other_invite).await;
        let admin = json!({"role": "admin"});
        boss.patch(&format!("/api/users/{}", owner.id), admin).await.ok();
        let c = owner.create_conversation("Quay").await;
        let made = owner
            .post(&format!("/api/conversations/{c}/invites"), json!({}))
            .await
            .ok();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let invite = (text(&made["id"]), text(&made["code"]));
        let mut people = Vec::new();
        for (who, name) in [
            (Who::Moderator, "Moderator"),
            (Who::Plain, "Plain"),
            (Who::Removed, "Removed"),
            (Who::Suspended, "Suspended"),
            (Who::Demoted, "Demoted"),
        ] {
            people.push((who, app.join(name, &invite.1).await));
        }
        people.push((Who::GuestHere, app.guest("Guest", &invite.1).await));
        people.push((Who::GuestElsewhere, app.guest("Other guest", &other_invite).await));
        people.push((Who::Outsider, app.join("Outsider", &other_invite).await));
        let other = app.join("Other", &invite.1).await;
        people.push((Who::Stranger, app.person_with_conversation("Stranger").await.0));
        app.give_premium(&boss).await;
        people.push((Who::Boss, boss));
        people.push((Who::Owner, owner));
        let mut world = Self {
            app,
            conversation: c,
            message: MessageId::new(),
            invite,
            other,
            spare_key: String::new(),
            people,
        };
        world.make_keys().await;
        world.spoil().await;
        world
    }

    async fn make_keys(&mut self) {
        let owner = self.person(Who::Owner).clone();
        for (who, scopes) in [
            (Who::ChatKey, &["chat"][..]),
            (Who::AdminKey, &["admin", "analytics:read"]),
            (Who::AllKey, &["chat", "admin", "analytics:read"]),
            (Who::ExpiredKey, &["chat", "admin"]),
            (Who::DeletedKey, &["chat", "admin"]),
        ] {
            let (key, id) = key_of(&owner, scopes).await;
            if who == Who::ExpiredKey {
                let sql = "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = $1 RETURNING 1";
                let id: uuid::Uuid = id.parse().unwrap();
                self.app.database.query(sql, &[&id]).await;
            } else if who == Who::DeletedKey {
                key.get("/api/me").await.ok();
                owner.delete(&format!("/api/keys/{id}")).await.ok();
            }
            self.people.push((who, key));
        }
        self.spare_key = key_of(&owner, &["chat"]).await.1;
        for (of, who) in [(Who::Suspended, Who::SuspendedKey), (Who::Demoted, Who::DemotedKey)] {
            let (key, _) = key_of(self.person(of), &["chat"]).await;
            self.people.push((who, key));
        }
    }

    /// Says what is secret, and takes away from people what they had.
    async fn spoil(&mut self) {
        let (c, boss, owner) = (self.conversation, self.person(Who::Boss), self.person(Who::Owner));
        let role = json!({"role": "moderator"});
        let moderator = self.person(Who::Moderator);
        let path = format!("/api/conversations/{c}/members/{}", moderator.id);
        owner.patch(&path, role).await.ok();
        let plain = self.person(Who::Plain);
        plain.post_message(c, self.message, SECRET).await.ok();
        self.has_read(plain, 1).await;
        owner.remove_member(c, self.person(Who::Removed).id).await.ok();
        for (who, change) in [
            (Who::Suspended, json!({"status": "suspended"})),
            (Who::Demoted, json!({"role": "guest"})),
        ] {
            let user = self.person(who).id;
            boss.patch(&format!("/api/users/{user}"), change).await.ok();
        }
        let body = json!({"email": owner.email, "password": PASSWORD});
        let answer = self
            .app
            .request(Method::POST, "/auth/login", None, Some(body))
            .await
            .ok();
        let left = Person {
            token: answer["access_token"].as_str().unwrap().to_owned(),
            ..owner.clone()
        };
        left.post("/auth/logout", Value::Null).await.ok();
        self.people.push((Who::LoggedOut, left));
    }

    fn person(&self, who: Who) -> &Person {
        let found = self.people.iter().find(|(known, _)| *known == who);
        &found.unwrap_or_else(|| panic!("{who:?} is nobody")).1
    }

    /// Waits until it is written how far somebody has read: posting moves that, about a second later.
    async fn has_read(&self, person: &Person, seq: i64) {
        let sql = "SELECT read_seq FROM conversation_members WHERE user_id = $1 AND conversation_id = $2";
        eventually("the read marker is written", async || {
            let rows = self
                .app
                .database
                .query(sql, &[&person.id.0, &self.conversation.0])
                .await;
            rows[0].get::<_, i64>(0) == seq
        })
        .await;
    }

    /// The request of each credential that `who` may show: one, but for garbage.
    async fn ask(&self, who: Who, method: &Method, path: &str, body: Option<&Value>) -> Vec<Answer> {
        let request = || {
            let request = self.app.http().request(method.clone(), self.app.url(path));
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        let cookie = |who, origin: &str| {
            let token = &self.person(who).token;
            request()
                .header("cookie", format!("parlance_session={token}"))
                .header("origin", origin)
        };
        let requests = match who {
            Who::Nobody => vec![request()],
            Who::Garbage => {
                let tampered = format!("{}x", self.person(Who::Owner).token);
                let bearer = GARBAGE.map(|token| request().bearer_auth(token));
                let others = [
                    request().bearer_auth(tampered),
                    request().header("authorization", "Basic b3duZXI6b3duZXI="),
                    request().header("cookie", "parlance_session=garbage"),
                ];
                bearer.into_iter().chain(others).collect()
            }
            Who::ForeignPage => vec![cookie(Who::Owner, "https://evil.example")],
            Who::KeyInCookie => vec![cookie(Who::AllKey, &self.app.url(""))],
            who => vec![request().bearer_auth(&self.person(who).token)],
        };
        let mut answers = Vec::new();
        for request in requests {
            answers.push(Site::read(request.send().await.unwrap()).await.unwrap());
        }
        answers
    }

    /// Everything that a request may change, as one word. When a key was last used may change by itself.
    async fn digest(&self) -> String {
        let tables = [
            "tenants",
            "users",
            "sessions",
            "refresh_tokens",
            "socket_tickets",
            "auth_events",
            "conversations",
            "conversation_members",
            "messages",
            "reactions",
            "invites",
            "invite_uses",
            "user_blocks",
            "declined_conversations",
            "member_additions",
        ];
        let mut rows: Vec<_> = tables
            .iter()
            .map(|table| format!("SELECT '{table}' || t::text AS row FROM {table} t"))
            .collect();
        rows.push("SELECT (id, user_id, name, hash, scopes, expires_at)::text FROM api_keys".to_owned());
        let sql = format!(
            "SELECT md5(string_agg(row, '|' ORDER BY row)) AS digest FROM ({}) everything",
            rows.join(" UNION ALL ")
        );
        self.app.database.query(&sql, &[]).await[0].get("digest")
    }
}
