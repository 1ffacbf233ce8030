//! Identifiers and the small closed vocabularies of the domain, as types.
//!
//! A bare `Uuid` sooner or later ends up in the wrong parameter. So every identifier has a type of
//! its own, and is parsed once at the edge. Everything here is pure, except that the `new` functions
//! make version 7 UUIDs. Their time prefix keeps inserts into indexes local.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes a fresh identifier (UUID version 7).
            #[must_use]
            #[allow(clippy::new_without_default, reason = "an identifier has no default; `new` makes a unique one")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

uuid_id!(
    /// A tenant: the workspace that owns users and conversations.
    TenantId
);
uuid_id!(
    /// A user: a person, an agent or the system itself.
    UserId
);
uuid_id!(
    /// A login: the family of refresh tokens that descends from one authentication.
    SessionId
);
uuid_id!(
    /// An API key. Not its secret.
    ApiKeyId
);
uuid_id!(
    /// A conversation, no matter who takes part.
    ConversationId
);
uuid_id!(
    /// A message; made by the client, unique in its tenant for ever.
    MessageId
);
uuid_id!(
    /// An invitation to a conversation.
    InviteId
);
uuid_id!(
    /// One WebSocket connection, from open to close.
    ConnectionId
);
uuid_id!(
    /// One run of the server process.
    NodeId
);

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
        )]
        #[serde(transparent)]
        #[schema(value_type = i64)]
        pub struct $name(pub i64);

        impl $name {
            /// The number before the first.
            pub const ZERO: Self = Self(0);

            /// The following number.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// The number of a message in its conversation: 1, 2, 3, … without holes.
    Seq
);
counter!(
    /// The revision of a conversation: +1 for every durable change.
    Rev
);

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vdoc])* $variant),+
        }

        impl $name {
            /// The word used on the wire, in SQL and in logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// The value a word stands for, if it is one of the vocabulary.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

vocabulary!(
    /// What a user may spend: the tier their limits are taken from.
    Tier {
        /// Guests.
        Anonymous = "anonymous",
        /// Everybody else, unless an admin says otherwise.
        Regular = "regular",
        /// More of everything.
        Premium = "premium",
    }
);
vocabulary!(
    /// A user's role in their tenant, weakest first.
    Role {
        /// Confined to the conversation they were invited to.
        Guest = "guest",
        /// Uses conversations.
        Member = "member",
        /// Manages people and tiers.
        Admin = "admin",
        /// Manages admins too.
        Owner = "owner",
    }
);
vocabulary!(
    /// What a tenant has from the operator, least first: the quota of all of its people together, and
    /// the highest tier that its admins may give.
    Plan {
        /// Unless the operator says otherwise.
        Regular = "regular",
        /// More of everything, and the premium tier.
        Premium = "premium",
    }
);

impl Plan {
    /// The highest tier that an admin may give.
    #[must_use]
    pub const fn highest_tier(self) -> Tier {
        match self {
            Self::Regular => Tier::Regular,
            Self::Premium => Tier::Premium,
        }
    }
}

vocabulary!(
    /// Whose invitations let people from outside into a tenant.
    Admission {
        /// Those of everybody who may invite in a conversation.
        Moderators = "moderators",
        /// Of these only those who are also an owner or admin of the tenant.
        Admins = "admins",
        /// None.
        Nobody = "nobody",
    }
);
vocabulary!(
    /// Whether a user may sign in.
    UserStatus {
        /// May.
        Active = "active",
        /// May not, and has no live sockets.
        Suspended = "suspended",
    }
);
vocabulary!(
    /// What kind of author a user is.
    UserKind {
        /// A human.
        Person = "person",
        /// A program that takes part.
        Agent = "agent",
        /// Parlance itself.
        System = "system",
    }
);
vocabulary!(
    /// A member's role in a conversation, weakest first.
    MemberRole {
        /// Reads, posts, reacts, leaves.
        Member = "member",
        /// Also deletes others' messages, adds and removes members, invites, renames.
        Moderator = "moderator",
        /// Also gives roles and deletes the conversation.
        Owner = "owner",
    }
);

vocabulary!(
    /// What a member may do in a conversation besides reading, posting, reacting and leaving.
    MemberAction {
        /// See, make and withdraw invitations.
        Invite = "invite",
        /// Change the title.
        Rename = "rename",
        /// Add members.
        AddMembers = "add_members",
        /// Remove members; only owners remove moderators and owners.
        RemoveMembers = "remove_members",
        /// Delete others' messages.
        Moderate = "moderate",
        /// Give roles.
        ChangeRoles = "change_roles",
        /// Delete the conversation.
        Delete = "delete",
    }
);

/// The network of a client, as far as limits tell addresses apart: an IPv4 address, or the first 64
/// bits of an IPv6 address, because a client with one address of a /64 has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(u128);

impl Network {
    /// The network of nobody, for what has no TCP connection.
    pub const NONE: Self = Self(0);

    /// The /48 that an IPv6 network is in; `None` for IPv4.
    #[must_use]
    pub const fn block(self) -> Option<NetworkBlock> {
        // Those of IPv4 are mapped into the first /80.
        if self.0 >> 48 == 0 {
            return None;
        }
        Some(NetworkBlock(self.0 >> 80))
    }
}

/// The first 48 bits of an IPv6 address: what one customer of a provider gets, with 65,536 networks
/// in it. So it counts besides its networks where these are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkBlock(u128);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

impl fmt::LowerHex for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_or_64s() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::9"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        let block = |text| network(text).block();
        assert!(block("2001:db8:0:1::1").is_some());
        assert_eq!(block("2001:db8:0:1::1"), block("2001:db8:0:ffff::1"));
        assert_ne!(block("2001:db8:0:1::1"), block("2001:db8:1:1::1"));
        assert_eq!((block("192.0.2.1"), Network::NONE.block()), (None, None));
    }
}
