//! `GET /ws`: who may open a socket, then the upgrade.
//!
//! Everything is checked before the upgrade, so a refusal is an ordinary problem document that a
//! client can read: draining or full (503), origin (403, whatever the credentials), sub-protocol
//! (400, before a ticket is spent), credentials (401; from an address that has used up its budget
//! for false ones, 429). Credentials are those of every route, or a ticket, so no long-lived secret is
//! ever in a URL.

use crate::auth::Principal;
use crate::error::Code;
use crate::http::request::headers::header_text;
use crate::http::request::log_fields::{self, RequestId};
use crate::http::request::params::QueryString;
use crate::http::request::{address_quota, caller, origin};
use crate::http::response::error::{Error, WEBSOCKET_VERSION};
use crate::http::server::upgrade::HandedOver;
use crate::http::state::AppState;
use crate::sessions::{self, AdmissionError, OpenError, SocketRequest};
use actix_web::http::{Version, header};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use serde::Deserialize;

/// The sub-protocol of this version.
const PROTOCOL: &str = "parlance.v1";

/// The query string of the handshake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandshakeQuery {
    ticket: Option<String>,
}

/// Opens a socket.
#[utoipa::path(get, path = "/ws", tag = "socket",
    params(("ticket" = Option<String>, Query, description = "A ticket of `POST /auth/ticket`.")),
    responses((status = 101, description = "The socket; see /asyncapi.json.")))]
pub(crate) async fn open(
    request: HttpRequest,
    state: web::Data<AppState>,
    QueryString(query): QueryString<HandshakeQuery>,
) -> Result<HttpResponse, Error> {
    state.sessions.check_capacity().map_err(refusal)?;
    if origin::is_allowed_page(&request, &state) == Some(false) {
        return Err(Error::with_detail(
            Code::Forbidden,
            "Pages of this origin may not connect.",
        ));
    }
    // Before the ticket is spent.
    let protocol = agree(&request)?;
    let principal = match authenticate(&request, &state, query.ticket).await {
        Ok(principal) => principal,
        Err(error) => return Err(address_quota::charge(&request, &state, error).await),
    };
    check_version(&request)?;
    let network = state.client_address(&request).into();
    sessions::open(
        &state.sessions,
        &request,
        SocketRequest {
            principal,
            request_id: RequestId::of(&request).0,
            protocol,
            network,
        },
    )
    .map_err(|error| match error {
        OpenError::Admission(error) => refusal(error),
        OpenError::Handshake(error) => {
            Error::with_detail(Code::BadRequest, format!("This is not a WebSocket handshake: {error}."))
        }
    })
}

fn refusal(error: AdmissionError) -> Error {
    let detail = match error {
        AdmissionError::Draining => "This node is going away; connect again.",
        // Those of users and networks are closed as sockets.
        AdmissionError::NodeFull | AdmissionError::UserFull | AdmissionError::NetworkFull => {
            "This node has as many connections as it can."
        }
    };
    Error::with_detail(Code::Overloaded, detail)
}

async fn authenticate(request: &HttpRequest, state: &AppState, ticket: Option<String>) -> Result<Principal, Error> {
    let Some(ticket) = ticket else {
        return caller::authenticate(request, state).await;
    };
    if !state.auth.is_marked(&ticket)
        && let Some(refusal) = address_quota::peek(request, state)
    {
        return Err(refusal);
    }
    let principal = state.auth.redeem_ticket(&ticket).await?;
    log_fields::note_caller(&principal);
    Ok(principal)
}

/// The one version of WebSocket there is. The library also takes drafts of before.
fn check_version(request: &HttpRequest) -> Result<(), Error> {
    if request.version() == Version::HTTP_11 && !request.extensions().contains::<HandedOver>() {
        let detail = "This is not a WebSocket handshake: that has no body, and asks for `websocket` alone.";
        return Err(Error::with_detail(Code::BadRequest, detail));
    }
    if request.version() < Version::HTTP_11 {
        let detail = "This is not a WebSocket handshake: that takes HTTP/1.1.";
        return Err(Error::with_detail(Code::BadRequest, detail));
    }
    match header_text(request, "sec-websocket-version") {
        Some(version) if version.trim() != WEBSOCKET_VERSION => Err(Error::other_websocket()),
        _ => Ok(()),
    }
}

/// Takes our sub-protocol from those that are offered; a client that offers none gets none.
fn agree(request: &HttpRequest) -> Result<Option<&'static str>, Error> {
    let mut offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    let ours = |value: &header::HeaderValue| {
        value
            .to_str()
            .is_ok_and(|list| list.split(',').any(|protocol| protocol.trim() == PROTOCOL))
    };
    if offered.any(ours) {
        return Ok(Some(PROTOCOL));
    }
    Err(Error::with_detail(
        Code::BadRequest,
        "The sub-protocol of this server is `parlance.v1`.",
    ))
}
