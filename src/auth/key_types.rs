//! API keys as plain types.

use super::principal::Principal;
use super::scopes::{Scope, Scopes};
use crate::config::Secret;
use crate::ids::{ApiKeyId, UserStatus};
use crate::wire::frames::{Timestamp, optional_timestamp, timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiKey {
    /// Its id, to delete it.
    pub id: ApiKeyId,
    /// What its owner calls it.
    pub name: String,
    /// What it was made for; it does less when its user's role allows less.
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// When it runs out, if it does.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, up to a minute behind; null if never.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub last_used_at: Option<Timestamp>,
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// What its owner calls it.
    pub name: String,
    /// What it is for; at least one.
    pub scopes: Scopes,
    /// When it runs out; never, unless said.
    pub expires_at: Option<Timestamp>,
}

/// A key that was just made: the only time its secret is seen.
#[derive(Debug)]
pub struct IssuedKey {
    pub key: ApiKey,
    /// What its owner keeps.
    pub secret: Secret,
}

/// Whom a key stands for, as the rows said when they were read.
#[derive(Clone, Debug)]
pub(super) struct KeyHolder {
    pub(super) principal: Principal,
    pub(super) status: UserStatus,
}
