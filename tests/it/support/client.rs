//! People and the REST verbs they use.
//!
//! Strict where the protocol is: a refusal that is no problem document fails the test whatever it is about. Their
//! sockets are in `socket.rs`.

use super::PATIENCE;
pub use super::socket::{Ack, Ended, RawSocket, Socket, Subscribed, frame};
use parlance::ids::{ConversationId, MessageId, TenantId, UserId};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::net::SocketAddr;
use uuid::Uuid;

/// A password that is good enough, and that is found where it should not be: the log of the whole suite is searched for it.
pub const PASSWORD: &str = "canary-password of a harbour";

/// A server, seen from outside.
#[derive(Clone, Debug)]
pub struct Site {
    pub address: SocketAddr,
    http: reqwest::Client,
}

/// What a REST request was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null when there was none.
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "refused: {} {}",
            self.status,
            self.body
        );
        self.body
    }

    /// Asserts a problem document with this status and code, and returns it.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status, &self.body["code"]),
            (status, &json!(code)),
            "{}",
            self.body
        );
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"));
        assert_eq!(self.body["status"], status);
        let is_later = matches!(code, "rate_limited" | "overloaded" | "unavailable");
        let wait = self.body["retry_after_ms"].as_u64();
        assert_eq!(wait.is_some(), is_later, "{}", self.body);
        if let Some(wait_ms) = wait {
            let seconds = wait_ms.div_ceil(1_000).max(1).to_string();
            assert_eq!(self.header("retry-after"), Some(&*seconds), "the header says the same");
        }
        assert!(
            self.body["request_id"].is_string() && self.body["title"].is_string(),
            "{}",
            self.body
        );
        self.body
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Site {
    pub fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { address, http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client without cookies or credentials, for requests that are not of the usual form.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// One request; fails only when there is no answer.
    pub async fn request(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        self.try_request(method, path, token, body)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// One request.
    pub async fn try_request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Self::read(request.send().await?).await
    }

    /// Reads an answer.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Answer> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| text())
        };
        Ok(Answer { status, headers, body })
    }

    /// Signs somebody up, with a tenant of their own.
    pub async fn register(&self, name: &str) -> Person {
        let body = json!({"email": fresh_email(name), "password": PASSWORD, "name": name, "workspace": "Test"});
        self.sign_in("/auth/register", body).await
    }

    /// Signs somebody up by invite.
    pub async fn join(&self, name: &str, invite: &str) -> Person {
        let body = json!({"email": fresh_email(name), "password": PASSWORD, "name": name, "invite": invite});
        self.sign_in("/auth/register", body).await
    }

    /// Lets a guest in.
    pub async fn guest(&self, name: &str, invite: &str) -> Person {
        self.sign_in("/auth/guest", json!({"name": name, "invite": invite}))
            .await
    }

    /// Signs somebody up who has a conversation.
    pub async fn person_with_conversation(&self, name: &str) -> (Person, ConversationId) {
        let person = self.register(name).await;
        let conversation = person.create_conversation("Test").await;
        (person, conversation)
    }

    /// A conversation of people of one tenant; the first is its owner.
    pub async fn conversation_of<const N: usize>(&self, names: [&str; N]) -> ([Person; N], ConversationId) {
        let (owner, conversation) = self.person_with_conversation(names[0]).await;
        let invite = owner.invite(conversation).await;
        let mut people = vec![owner];
        for name in &names[1..] {
            people.push(self.join(name, &invite).await);
        }
        (people.try_into().unwrap(), conversation)
    }

    async fn sign_in(&self, path: &str, body: Value) -> Person {
        let email = body["email"].as_str().map(str::to_owned);
        let answer = self.request(Method::POST, path, None, Some(body)).await.ok();
        Person {
            site: self.clone(),
            email,
            id: UserId(uuid_of(&answer["user"]["id"])),
            tenant: TenantId(uuid_of(&answer["tenant"]["id"])),
            name: answer["user"]["name"].as_str().unwrap().to_owned(),
            token: answer["access_token"].as_str().unwrap().to_owned(),
        }
    }
}

/// An address that nobody has.
pub fn fresh_email(name: &str) -> String {
    format!(
        "{}.{}@example.org",
        name.to_lowercase().replace(' ', "."),
        Uuid::new_v4().simple()
    )
}

/// Reads an id out of JSON.
#[track_caller]
pub fn uuid_of(value: &Value) -> Uuid {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("not an id: {value}"))
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    pub site: Site,
    pub email: Option<String>,
    pub id: UserId,
    pub tenant: TenantId,
    pub name: String,
    /// The access token.
    pub token: String,
}

impl Person {
    /// The same person at another node.
    pub fn at(&self, site: &Site) -> Self {
        Self {
            site: site.clone(),
            ..self.clone()
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.site.request(Method::GET, path, Some(&self.token), None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.site
            .request(Method::POST, path, Some(&self.token), Some(body))
            .await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.site
            .request(Method::PATCH, path, Some(&self.token), Some(body))
            .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.site.request(Method::DELETE, path, Some(&self.token), None).await
    }

    pub async fn create_conversation(&self, title: &str) -> ConversationId {
        let answer = self.post("/api/conversations", json!({"title": title})).await.ok();
        ConversationId(uuid_of(&answer["id"]))
    }

    /// Makes an invite and returns its code.
    pub async fn invite(&self, conversation: ConversationId) -> String {
        let answer = self
            .post(&format!("/api/conversations/{conversation}/invites"), json!({}))
            .await
            .ok();
        answer["code"].as_str().unwrap().to_owned()
    }

    pub async fn accept(&self, invite: &str) -> Answer {
        self.site
            .request(
                Method::POST,
                &format!("/api/invites/{invite}/accept"),
                Some(&self.token),
                None,
            )
            .await
    }

    pub async fn add_member(&self, conversation: ConversationId, user: UserId, role: &str) -> Answer {
        let path = format!("/api/conversations/{conversation}/members");
        self.post(&path, json!({"user_id": user, "role": role})).await
    }

    pub async fn remove_member(&self, conversation: ConversationId, user: UserId) -> Answer {
        self.delete(&format!("/api/conversations/{conversation}/members/{user}"))
            .await
    }

    /// Posts over REST.
    pub async fn post_message(&self, conversation: ConversationId, id: MessageId, body: &str) -> Answer {
        self.post(
            &format!("/api/conversations/{conversation}/messages"),
            json!({"id": id, "body": body}),
        )
        .await
    }

    /// Opens a socket and hears its `hello`.
    pub async fn connect(&self) -> Socket {
        Socket::connect(&self.site, &self.token).await
    }

    /// Opens a socket that speaks bytes.
    pub async fn connect_raw(&self) -> RawSocket {
        RawSocket::connect(self.site.address, &self.token, None).await
    }
}
