//! What credentials are good for: scopes, and how they meet the role of their user. Pure.
//!
//! A key never does more than its user may. Each time it is used, its scopes are cut down to those
//! that the role gives now, so the key of a demoted user loses what the user lost. People have every
//! scope of their role. The scope that a route needs stands in `http/routes/access.rs`.

use crate::ids::Role;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// One thing that credentials can be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// Conversations, over REST and the socket.
    #[serde(rename = "chat")]
    Chat,
    /// Numbers about the workspace.
    #[serde(rename = "analytics:read")]
    AnalyticsRead,
    /// The workspace and its people.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Chat, Self::AnalyticsRead, Self::Admin];

    /// The word used on the wire and in SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::AnalyticsRead => "analytics:read",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Chat => 1,
            Self::AnalyticsRead => 2,
            Self::Admin => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// What a role gives.
    #[must_use]
    pub fn of_role(role: Role) -> Self {
        match role {
            Role::Guest | Role::Member => [Scope::Chat].into_iter().collect(),
            Role::Admin | Role::Owner => Scope::ALL.into_iter().collect(),
        }
    }

    /// What is left of the scopes of a key when its user has this role. A guest's key is good for
    /// nothing: guests make none, and one who became a guest is confined to a conversation, which a
    /// key is not.
    #[must_use]
    pub fn of_key(self, role: Role) -> Self {
        match role {
            Role::Guest => Self::default(),
            _ => Self(self.0 & Self::of_role(role).0),
        }
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }

    /// The first of them that is not among `others`.
    #[must_use]
    pub fn first_beyond(self, others: Self) -> Option<Scope> {
        self.iter().find(|scope| !others.contains(*scope))
    }

    /// The set of the words of a column; unknown ones (of a newer version) give nothing.
    #[must_use]
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words
            .into_iter()
            .filter_map(|word| Scope::ALL.into_iter().find(|scope| scope.as_str() == word))
            .collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Scopes {
        Scope::ALL.into_iter().collect()
    }

    #[test]
    fn a_key_does_what_it_was_given_and_its_user_may() {
        let admin: Scopes = [Scope::Admin].into_iter().collect();
        for (role, expected) in [
            (Role::Guest, vec![]),
            (Role::Member, vec![Scope::Chat]),
            (Role::Admin, Scope::ALL.to_vec()),
            (Role::Owner, Scope::ALL.to_vec()),
        ] {
            assert_eq!(all().of_key(role).iter().collect::<Vec<_>>(), expected, "{role}");
            let left = admin.of_key(role);
            assert_eq!(left.contains(Scope::Admin), role >= Role::Admin);
            assert!(!left.contains(Scope::Chat), "nothing is added");
        }
        assert!(
            Scopes::of_role(Role::Guest).contains(Scope::Chat),
            "a guest who is signed in chats"
        );
    }

    #[test]
    fn words_are_those_of_the_wire() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
            assert_eq!(Scopes::from_words([scope.as_str()]).iter().collect::<Vec<_>>(), [scope]);
        }
        assert!(Scopes::from_words(["root", ""]).is_empty());
        assert_eq!(
            all().first_beyond(Scopes::of_role(Role::Member)),
            Some(Scope::AnalyticsRead)
        );
        assert_eq!(all().first_beyond(all()), None);
        assert_eq!(format!("{:?}", Scopes::of_role(Role::Member)), r#"{"chat"}"#);
    }
}
