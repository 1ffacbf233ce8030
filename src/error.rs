//! The catalogue of error codes: the one place where a failure gets its public name, HTTP status and text.
//!
//! Each feature has its own `Error` enum for its causes and maps it to a [`Code`]; causes go to the log, a code and its
//! text go to the client. When you add a code, also add it to `docs/protocol.md`.

use serde::Serialize;
use std::fmt;

/// A stable error code, the same word on the socket and in REST problem documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not a JSON object of a known `type`.
    BadFrame,
    /// The fields are wrong.
    BadRequest,
    /// No valid credentials.
    Unauthenticated,
    /// Known caller, not allowed.
    Forbidden,
    /// Not there, or not to be seen by this caller.
    NotFound,
    /// Contradicts the present state.
    Conflict,
    /// Larger than its limit.
    TooLarge,
    /// A quantity limit is reached.
    LimitReached,
    /// Too many requests in the window.
    RateLimited,
    /// A queue is full: not done, try again with the same id.
    Overloaded,
    /// A dependency is down: not done, try again with the same id.
    Unavailable,
    /// A defect of the server.
    Internal,
}

impl Code {
    /// Every code, for documents and tests.
    pub const ALL: [Self; 12] = [
        Self::BadFrame,
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::LimitReached,
        Self::RateLimited,
        Self::Overloaded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadFrame => "bad_frame",
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::LimitReached => "limit_reached",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status of a problem document with this code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadFrame | Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::LimitReached => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Overloaded | Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// A sentence for people, used where the failing feature has nothing more precise to say.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadFrame => "The frame is not a JSON object of a known type.",
            Self::BadRequest => "The request is not valid.",
            Self::Unauthenticated => "Valid credentials are needed.",
            Self::Forbidden => "This is not allowed.",
            Self::NotFound => "There is no such thing here.",
            Self::Conflict => "This contradicts the present state.",
            Self::TooLarge => "This is larger than allowed.",
            Self::LimitReached => "A limit is reached.",
            Self::RateLimited => "Too many requests; wait and try again.",
            Self::Overloaded => "The server is busy; nothing was done; try again with the same id.",
            Self::Unavailable => "A part of the service is not available; try again with the same id.",
            Self::Internal => "The server made a mistake; it has been logged.",
        }
    }

    /// How long a client should wait before it tries again, in milliseconds; `None` where trying again is pointless.
    #[must_use]
    pub const fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::RateLimited | Self::Unavailable => Some(1_000),
            Self::Overloaded => Some(500),
            _ => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the server closes a socket. The first two digits are the verdict: 40 stop, 41 back off, 42 reconnect at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: the client closed, the server agrees.
    Normal,
    /// 1002: not WebSocket.
    ProtocolError,
    /// 1007: text that is not UTF-8.
    InvalidUtf8,
    /// 1009: a message larger than 64 KiB.
    TooLarge,
    /// 4000: not the Parlance protocol.
    BadProtocol,
    /// 4001: the credentials were revoked.
    Revoked,
    /// 4003: the user is suspended.
    Suspended,
    /// 4005: too many connections of this user.
    TooManyConnections,
    /// 4101: flooding.
    Flooding,
    /// 4102: the server is overloaded.
    Overloaded,
    /// 4103: the access token ran out.
    TokenExpired,
    /// 4104: too many connections of this client address, whoever they are of.
    AddressFull,
    /// 4201: the client does not read fast enough.
    TooSlow,
    /// 4202: nothing heard from the client for too long.
    HeartbeatLost,
    /// 4203: the server is going away.
    Draining,
    /// 4205: the server had to discard what it knew about this connection.
    StateDiscarded,
}

impl CloseCode {
    /// The number in the close frame.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::BadProtocol => 4000,
            Self::Revoked => 4001,
            Self::Suspended => 4003,
            Self::TooManyConnections => 4005,
            Self::Flooding => 4101,
            Self::Overloaded => 4102,
            Self::TokenExpired => 4103,
            Self::AddressFull => 4104,
            Self::TooSlow => 4201,
            Self::HeartbeatLost => 4202,
            Self::Draining => 4203,
            Self::StateDiscarded => 4205,
        }
    }

    /// The text in the close frame, at most 123 bytes.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::ProtocolError => "broken WebSocket framing",
            Self::InvalidUtf8 => "text is not valid UTF-8",
            Self::TooLarge => "message too large",
            Self::BadProtocol => "not the Parlance protocol",
            Self::Revoked => "credentials revoked",
            Self::Suspended => "user suspended",
            Self::TooManyConnections => "too many connections",
            Self::Flooding => "flooding",
            Self::Overloaded => "server overloaded",
            Self::TokenExpired => "access token expired",
            Self::AddressFull => "too many connections of this address",
            Self::TooSlow => "reading too slowly",
            Self::HeartbeatLost => "heartbeat lost",
            Self::Draining => "server going away",
            Self::StateDiscarded => "connection state discarded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_serialize_to_their_own_word() {
        for code in Code::ALL {
            assert_eq!(
                serde_json::to_string(&code).ok(),
                Some(format!("\"{}\"", code.as_str()))
            );
            assert!((400..600).contains(&code.http_status()));
        }
    }
}
