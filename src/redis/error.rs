//! Why Redis gave no reply, and what that says about the layout of a cluster.

use crate::error::Code;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::time::Duration;

/// Why Redis gave no reply. A command whose deadline passed may still have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be used; for the operator. The address is not repeated, because there
    /// may be a password in it.
    #[error("{0}")]
    Settings(String),
    /// No server of the cluster has the slot of the key.
    #[error("no server of the Redis Cluster has the slot of this key")]
    NoOwner,
    /// Redis was not asked.
    #[error("Redis is not asked for now, after it failed several times in a row")]
    BreakerOpen,
    /// No reply within the deadline.
    #[error("Redis gave no reply to {command} within {deadline:?}{}", because(.cause.as_deref()))]
    Timeout {
        /// The name the caller gave.
        command: &'static str,
        deadline: Duration,
        /// Why no connection could be made, if that was it.
        cause: Option<String>,
    },
    /// The connection broke, or the reply was an error or of an unexpected type.
    #[error("Redis failed at {command}: {source}")]
    Failed {
        /// The name the caller gave.
        command: &'static str,
        source: RedisError,
    },
}

impl Error {
    /// The public code. Callers can go on without Redis, so hardly anybody sees it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Settings(_) => Code::Internal,
            Self::NoOwner | Self::BreakerOpen | Self::Timeout { .. } | Self::Failed { .. } => Code::Unavailable,
        }
    }

    /// Where the key is, if the server redirected the call.
    pub(super) fn redirection(&self) -> Option<&str> {
        match self {
            Self::Failed { source, .. } => source.redirect_node().map(|(address, _)| address),
            _ => None,
        }
    }

    /// Whether the layout may have changed.
    pub(super) fn is_of_another_layout(&self) -> bool {
        match self {
            Self::NoOwner | Self::Timeout { .. } => true,
            Self::BreakerOpen | Self::Settings(_) => false,
            Self::Failed { source, .. } => match source.kind() {
                ErrorKind::Server(kind) => matches!(
                    kind,
                    ServerErrorKind::Moved
                        | ServerErrorKind::Ask
                        | ServerErrorKind::CrossSlot
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                ),
                _ => source.is_io_error(),
            },
        }
    }
}

fn because(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}
