//! What rebuilding and verifying say.

use crate::analytics::error::Error;
use crate::database;
use crate::ids::TenantId;
use std::fmt;

/// Why a command of an operator did not end well.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    #[error("there is no tenant {0}; `parlance tenants list` shows them")]
    UnknownTenant(TenantId),
    #[error(transparent)]
    Counts(#[from] Error),
}

impl From<database::Error> for MaintenanceError {
    fn from(error: database::Error) -> Self {
        Self::Counts(error.into())
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountsReport {
    /// Messages in the database, as it was at the beginning.
    pub total: u64,
    /// Messages looked at.
    pub messages: u64,
    /// Where the counts differ from the messages.
    pub differences: u64,
}

/// Where the counts differ from the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub tenant: TenantId,
    /// What it is about, in words.
    pub what: String,
    pub counted: String,
    pub expected: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tenant,
            what,
            counted,
            expected,
        } = self;
        write!(
            f,
            "tenant {tenant}, {what}: counted {counted}, in the messages {expected}"
        )
    }
}
