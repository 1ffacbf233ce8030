//! The values of the labels. Each set is bounded by the source: nothing that a client chooses is a
//! label.

use crate::ids::Tier;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use std::fmt::{Error, Write as _};

/// A level of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The level in this process.
    L1,
    /// The level in Redis.
    L2,
}

/// Which server was read, where the read may be some seconds old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadTarget {
    Primary,
    Replica,
}

/// Where a limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// REST, by the quota of a tier.
    Rest,
    /// Frames of a socket, by the quota of a tier.
    Socket,
    /// Routes that cost much.
    Expensive,
    /// The throttle of logins and registrations.
    Login,
    /// The flood guard of an address.
    Flood,
    /// Sockets of a user or an address.
    Connections,
}

/// Something that all tenants of a node share, and that is divided between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SharedResource {
    /// Loading conversations that begin to be active.
    ConversationStarts,
    /// Places for conversations in memory.
    ActiveConversations,
    /// Reading what subscribers have missed.
    Replays,
    /// Hashing passwords.
    PasswordHashes,
    /// Judging whether a new password is a common one.
    PasswordJudgements,
    /// Searches that query the database.
    Search,
    /// Questions of analytics that query the database.
    Analytics,
    /// Pages of exports.
    Exports,
}

impl SharedResource {
    pub const ALL: [Self; 8] = [
        Self::ConversationStarts,
        Self::ActiveConversations,
        Self::Replays,
        Self::PasswordHashes,
        Self::PasswordJudgements,
        Self::Search,
        Self::Analytics,
        Self::Exports,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConversationStarts => "conversation_starts",
            Self::ActiveConversations => "active_conversations",
            Self::Replays => "replays",
            Self::PasswordHashes => "password_hashes",
            Self::PasswordJudgements => "password_judgements",
            Self::Search => "search",
            Self::Analytics => "analytics",
            Self::Exports => "exports",
        }
    }
}

/// What happened to somebody who asked for their share of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeldBack {
    /// They had to wait for their turn.
    Waited,
    /// They had more than their share already.
    Refused,
    /// They had most waiting, and somebody else came.
    Displaced,
    /// Their turn did not come in time.
    TimedOut,
}

impl HeldBack {
    pub const ALL: [Self; 4] = [Self::Waited, Self::Refused, Self::Displaced, Self::TimedOut];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waited => "waited",
            Self::Refused => "refused",
            Self::Displaced => "displaced",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Why a slow reader was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// Its outbox was full.
    Overflow,
    /// It read nothing for too long.
    Stalled,
}

/// Why an envelope was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BusDrop {
    /// Too many waited to be published.
    OutgoingFull,
    /// A subscriber of the node does not keep up.
    IncomingFull,
    /// Redis, or the part of it that it was for, is away.
    RedisAway,
}

/// The purpose of a connection of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BusRole {
    Publisher,
    Subscriber,
}

macro_rules! words {
    ($type:ty, { $($value:pat => $word:literal),* $(,)? }) => {
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
                encoder.write_str(match self { $($value => $word),* })
            }
        }
    };
}

words!(ReadTarget, { Self::Primary => "primary", Self::Replica => "replica" });
words!(Level, { Self::L1 => "l1", Self::L2 => "l2" });
words!(Surface, {
    Self::Rest => "rest",
    Self::Socket => "socket",
    Self::Expensive => "expensive",
    Self::Login => "login",
    Self::Flood => "flood",
    Self::Connections => "connections",
});
words!(Eviction, { Self::Overflow => "overflow", Self::Stalled => "stalled" });
words!(BusDrop, {
    Self::OutgoingFull => "outgoing_full",
    Self::IncomingFull => "incoming_full",
    Self::RedisAway => "redis_away",
});
words!(BusRole, { Self::Publisher => "publisher", Self::Subscriber => "subscriber" });
words!(Tier, { Self::Anonymous => "anonymous", Self::Regular => "regular", Self::Premium => "premium" });

impl EncodeLabelValue for SharedResource {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for HeldBack {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
        encoder.write_str(self.as_str())
    }
}

/// A method that HTTP knows, or `OTHER`: a client may invent as many as it likes.
pub(super) fn method(name: &str) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "CONNECT", "TRACE",
    ];
    KNOWN.into_iter().find(|known| *known == name).unwrap_or("OTHER")
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) method: &'static str,
    /// The pattern of the route.
    pub(super) path: String,
    pub(super) status_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabels {
    pub(super) method: &'static str,
    /// The pattern of the route.
    pub(super) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QueryLabel {
    pub(super) query: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TargetLabel {
    pub(super) target: ReadTarget,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CacheLabels {
    pub(super) cache_type: &'static str,
    pub(super) level: Level,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CacheTypeLabel {
    pub(super) cache_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub(super) tier: Tier,
    pub(super) surface: Surface,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HeldBackLabels {
    pub(super) resource: SharedResource,
    pub(super) outcome: HeldBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ActorLabel {
    pub(super) actor: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabel {
    /// The close code; 0 where the connection ended without one.
    pub(super) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EvictionLabel {
    pub(super) reason: Eviction,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BusDropLabel {
    pub(super) reason: BusDrop,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BusRoleLabel {
    pub(super) role: BusRole,
}

#[cfg(test)]
mod tests {
    use super::method;

    #[test]
    fn invented_methods_are_one() {
        assert_eq!(
            (method("PATCH"), method("BREW"), method("get")),
            ("PATCH", "OTHER", "OTHER")
        );
    }
}
