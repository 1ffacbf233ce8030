//! The HTTP service of one listener: the application, and what becomes of handshakes.
//!
//! The library's own server would run a socket inside its response, with its buffers and its
//! copies. Here a request that asks for a WebSocket (`GET` with `Upgrade: websocket`) is taken out
//! of that as soon as its head has been read. The same application replies to it. If that accepts
//! (101 with a [`Takeover`]), the connection is handed over and the server's buffers are gone. Any
//! other response is written, and then the connection is closed. Used by `serving.rs` and by the
//! echo of the conformance suite.
//!
//! A client that does not take a refusal is cut by the connection's deadline.

use super::deadlines::ConnectionDeadline;
use crate::sessions::transport::{Takeover, Upgraded};
use actix_codec::Framed;
use actix_http::body::{BodySize, BoxBody, MessageBody as _};
use actix_http::error::DispatchError;
use actix_http::h1::{Codec, Message};
use actix_http::{ConnectionType, Error, Extensions, HttpMessage as _, HttpService, Request, Response};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::KeepAlive;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpResponse};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::codec::Encoder as _;

/// How long a client that was told of the end of its connection may take to end it, too.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Marks a request whose connection is handed over when its response is a [`Takeover`].
pub(crate) struct HandedOver;

/// What happens to each new connection, before its first request.
type OnConnect = Arc<dyn Fn(&TcpStream, &mut Extensions) + Send + Sync>;

/// How the connections of a listener are served.
#[derive(Clone)]
pub struct ConnectionOptions {
    /// Between two requests.
    pub keep_alive: Duration,
    /// For the head of the first request.
    pub request_timeout: Duration,
    /// Puts data beside the connection.
    pub on_connect: Option<OnConnect>,
    /// Becomes true when connections that do nothing are to end.
    pub closing: Option<watch::Receiver<bool>>,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            on_connect: None,
            closing: None,
        }
    }
}

/// The service of one worker; `configure` makes the application.
pub fn http_service<C>(
    configure: C,
    options: ConnectionOptions,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    C: Fn(&mut ServiceConfig) + Clone + 'static,
{
    let application = move || {
        let application = IntoServiceFactory::<_, Request>::into_factory(App::new().configure(&configure));
        map_config(application.map_err(HttpResponse::from_error), |()| AppConfig::default())
    };
    let mut builder = HttpService::build()
        .keep_alive(KeepAlive::from(options.keep_alive))
        .client_request_timeout(options.request_timeout)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        // A frame should leave when it is written; joining writes is our business.
        .tcp_nodelay(true);
    if let Some(closing) = options.closing {
        builder = builder.graceful_shutdown_signal(move || {
            let mut closing = closing.clone();
            // It fails when the server is gone, which is the same.
            async move { drop(closing.wait_for(|is_closing| *is_closing).await) }
        });
    }
    if let Some(on_connect) = options.on_connect {
        builder = builder.on_connect_ext(move |stream: &TcpStream, data: &mut Extensions| on_connect(stream, data));
    }
    // An application of its own: one that is called, rather than given to the library.
    let handshakes = application.clone();
    builder
        .upgrade(fn_factory(move || {
            let application = handshakes().new_service(());
            async move {
                let application = Rc::new(application.await?);
                Ok::<_, ()>(fn_service(move |(request, framed)| {
                    // Boxed, so that nothing of it is kept while the socket lives.
                    let responded = Box::pin(respond(application.clone(), request, framed));
                    responded.flatten().map(Ok::<_, Error>)
                }))
            }
        }))
        .finish(application())
        .tcp()
}

/// Replies to a handshake. Returns what is left to run: the socket, or the end of the connection.
async fn respond<S>(
    application: Rc<S>,
    request: Request,
    framed: Framed<TcpStream, Codec>,
) -> LocalBoxFuture<'static, ()>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = HttpResponse>,
{
    request.extensions_mut().insert(HandedOver);
    let deadline = request.conn_data::<ConnectionDeadline>().cloned().unwrap_or_default();
    let mut response = match application.call(request).await {
        Ok(response) => response.into_parts().1,
        Err(response) => response,
    };
    let takeover = response.extensions_mut().remove::<Takeover>();
    let (mut head, body) = Response::from(response).into_parts();
    let mut connection = framed.into_parts();
    // Responses to requests before this one may not have been written yet.
    let mut bytes = connection.write_buf;
    let Some(takeover) = takeover else {
        head.head_mut().set_connection_type(ConnectionType::Close);
        return Box::pin(async move {
            if let Err(error) = refuse(connection.io, connection.codec, bytes, head, body).await {
                tracing::debug!(%error, "the client did not take the refusal of its handshake");
            }
            drop(deadline);
        });
    };
    let message = Message::Item((head, BodySize::Stream));
    if let Err(error) = connection.codec.encode(message, &mut bytes) {
        tracing::error!(%error, "the head of a response was not encoded");
        return Box::pin(ready(()));
    }
    deadline.upgraded();
    let running = takeover.run(Upgraded {
        stream: connection.io,
        // Copied, because the buffers are large ones.
        received: Bytes::copy_from_slice(&connection.read_buf),
        head: Bytes::copy_from_slice(&bytes),
    });
    Box::pin(async move {
        running.await;
        // Until here it counts as a connection.
        drop(deadline);
    })
}

/// Writes a response, after what waits in `bytes`, and ends the connection.
async fn refuse(
    mut stream: TcpStream,
    mut codec: Codec,
    mut bytes: BytesMut,
    head: Response<()>,
    body: BoxBody,
) -> std::io::Result<()> {
    codec.encode(Message::Item((head, body.size())), &mut bytes)?;
    let mut body = pin!(body);
    while let Some(piece) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        codec.encode(
            Message::Chunk(Some(piece.map_err(|error| std::io::Error::other(error.to_string()))?)),
            &mut bytes,
        )?;
        stream.write_all_buf(&mut bytes).await?;
    }
    codec.encode(Message::Chunk(None), &mut bytes)?;
    stream.write_all_buf(&mut bytes).await?;
    stream.shutdown().await
}
