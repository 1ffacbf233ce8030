//! The echo of the conformance suite (`scripts/conformance.sh`): a WebSocket server that returns
//! every message.
//!
//! It stands on the socket code of a session (`parlance::sessions::transport`) as the session does:
//! the same reader, the same window, the same outbox, the same body. There is no identity, no
//! database and no limit but those of that code. It serves `/conformance` on a free port, says
//! where on standard output, and runs until it is told to stop.

#![allow(clippy::print_stdout, reason = "the script reads the address there")]

use actix::prelude::*;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use parlance::auth::{Credential, Principal};
use parlance::error::CloseCode;
use parlance::ids::{Network, Plan, Role, SessionId, TenantId, Tier, UserId, UserKind};
use parlance::sessions::Connection;
use parlance::sessions::transport::{Body, Incoming, IncomingStream, Link, WRITE_BUFFER_BYTES};
use parlance::wire::{Class, Frame};
use std::rc::Rc;
use std::sync::Arc;

/// The largest message of the suite.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

const OPCODE_TEXT: u8 = 0x1;
const OPCODE_BINARY: u8 = 0x2;

/// The actor of one socket.
struct Echo {
    connection: Arc<Connection>,
    link: Rc<Link>,
    /// Handed to the context when the actor starts.
    incoming: Option<IncomingStream<web::Payload>>,
}

impl Echo {
    fn send_back(&self, opcode: u8, payload: &[u8]) {
        // It counts against the window, as a frame of a client does.
        self.connection.accept_frame();
        self.connection.outbox.push(Frame::raw(opcode, payload), Class::Reply);
    }
}

impl Actor for Echo {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(incoming) = self.incoming.take() {
            ctx.add_stream(incoming);
        }
    }
}

/// Demanded by `WebsocketContext`; its own reader is given nothing to read.
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
            Incoming::Binary(data) => self.send_back(OPCODE_BINARY, &data),
            Incoming::Text(text) => self.send_back(OPCODE_TEXT, text.as_bytes()),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        self.link.end();
        self.connection.outbox.close(None);
    }
}

async fn open(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, actix_web::Error> {
    let mut response = ws::handshake(&request)?;
    let nobody = Principal {
        tenant_id: TenantId::new(),
        user_id: UserId::new(),
        credential: Credential::Session(SessionId::new()),
        kind: UserKind::System,
        name: "echo".into(),
        role: Role::Guest,
        tier: Tier::Anonymous,
        plan: Plan::Regular,
        conversation: None,
        expires_at: None,
    };
    let connection = Arc::new(Connection::new(nobody, Network::NONE, None));
    let outbox = connection.outbox.clone();
    let link = Rc::new(Link::new(connection.clone(), "echo"));
    let echo = Echo {
        connection,
        link: link.clone(),
        incoming: Some(IncomingStream::new(payload, link.clone(), MESSAGE_BYTES_MAX)),
    };
    let nothing = futures_util::stream::pending::<Result<web::Bytes, actix_web::error::PayloadError>>();
    let session = ws::WebsocketContext::create(echo, nothing);
    Ok(response.streaming(Body::new(session, outbox, link)))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let server = HttpServer::new(|| App::new().route("/conformance", web::get().to(open)))
        .workers(2)
        // As the server's own listener does.
        .tcp_nodelay(true)
        .h1_write_buffer_size(WRITE_BUFFER_BYTES)
        .bind("127.0.0.1:0")?;
    for address in server.addrs() {
        println!("The echo is at http://{address}");
    }
    server.run().await
}
