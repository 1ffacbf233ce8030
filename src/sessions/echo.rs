//! An echo over the session's own reading and writing code, for the conformance suite: no identity, no limits but its own.
//!
//! It is there only with the feature `conformance`, which no server is built with.

use super::body::Body;
use super::connection::Connection;
use super::incoming::{Incoming, IncomingStream};
use super::link::Link;
use super::session::run;
use crate::auth::{Credential, Principal};
use crate::error::CloseCode;
use crate::ids::{Role, SessionId, TenantId, Tier, UserId, UserKind};
use crate::rate_limit::Network;
use actix::prelude::*;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use std::rc::Rc;
use std::sync::Arc;

/// The largest message of the suite.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

struct Echo {
    connection: Arc<Connection>,
    link: Rc<Link>,
    incoming: Option<IncomingStream<web::Payload>>,
}

impl Actor for Echo {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(incoming) = self.incoming.take() {
            ctx.add_stream(incoming);
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Echo {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}
}

impl StreamHandler<Incoming> for Echo {
    fn handle(&mut self, incoming: Incoming, _: &mut Self::Context) {
        let outbox = &self.connection.outbox;
        if matches!(incoming, Incoming::Close | Incoming::Broken(_)) {
            self.link.end();
        }
        match incoming {
            Incoming::Close => outbox.close(Some(CloseCode::Normal)),
            Incoming::Broken(code) => outbox.close(Some(code)),
            Incoming::Ping(payload) => outbox.pong(&payload),
            Incoming::Pong => {}
            Incoming::Binary(data) => {
                self.connection.take_up();
                outbox.push_binary(&data);
            }
            Incoming::Text(text) => {
                self.connection.take_up();
                outbox.push_text(&text);
            }
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        self.link.end();
        self.connection.outbox.close(None);
    }
}

/// Upgrades a request to an echo.
///
/// # Errors
/// When the request is not a WebSocket handshake.
pub fn open_echo(request: &HttpRequest, payload: web::Payload) -> Result<HttpResponse, actix_web::Error> {
    let mut response = ws::handshake(request)?;
    let nobody = Principal {
        tenant_id: TenantId::new(),
        user_id: UserId::new(),
        credential: Credential::Session(SessionId::new()),
        kind: UserKind::System,
        name: "echo".into(),
        role: Role::Guest,
        tier: Tier::Anonymous,
        conversation: None,
        expires_at: None,
    };
    let connection = Arc::new(Connection::new(nobody, Network::NONE, None));
    let outbox = connection.outbox.clone();
    let link = Rc::new(Link::new(connection.clone(), "echo"));
    let incoming = IncomingStream::new(payload, link.clone(), MESSAGE_BYTES_MAX);
    let echo = Echo {
        connection,
        link: link.clone(),
        incoming: Some(incoming),
    };
    Ok(response.streaming(Body::new(run(echo), outbox, link)))
}
