//! The echo of the conformance suite (`scripts/conformance.sh`): a WebSocket server that returns
//! every message.
//!
//! It stands on the socket code of a session (`parlance::sessions::transport`) as the session does:
//! the same reader, the same window, the same outbox, the same task. There is no identity, no
//! database and no limit but those of that code. It serves `/conformance` on a free port, says
//! where on standard output, and runs until it is told to stop.

#![allow(clippy::print_stdout, reason = "the script reads the address there")]

use actix::prelude::*;
use actix_web::dev::Server;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use parlance::auth::{Credential, Principal};
use parlance::error::CloseCode;
use parlance::http::{ConnectionOptions, http_service};
use parlance::ids::{Network, Plan, Role, SessionId, TenantId, Tier, UserId, UserKind};
use parlance::sessions::Connection;
use parlance::sessions::transport::{Incoming, IncomingStream, Link, Reader, SocketTask, Takeover};
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
    incoming: Option<IncomingStream<Reader>>,
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

async fn open(request: HttpRequest) -> Result<HttpResponse, actix_web::Error> {
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
    let connection = Arc::new(Connection::new(nobody, Network::NONE, false));
    let outbox = connection.outbox.clone();
    let link = Rc::new(Link::new(connection.clone(), "echo"));
    let takeover = Takeover::new(move |upgraded| {
        SocketTask::new(upgraded, outbox, link.clone(), |reader| {
            let echo = Echo {
                connection,
                link: link.clone(),
                incoming: Some(IncomingStream::new(reader, link, MESSAGE_BYTES_MAX)),
            };
            let nothing = futures_util::stream::pending::<Result<web::Bytes, actix_web::error::PayloadError>>();
            ws::WebsocketContext::create(echo, nothing)
        })
    });
    let mut response = response.finish();
    response.extensions_mut().insert(takeover);
    Ok(response)
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("The echo is at http://{}", listener.local_addr()?);
    let service = || {
        let configure = |app: &mut web::ServiceConfig| {
            app.route("/conformance", web::get().to(open));
        };
        http_service(configure, ConnectionOptions::default())
    };
    Server::build()
        .workers(2)
        .listen("echo", listener, service)?
        .run()
        .await
}
