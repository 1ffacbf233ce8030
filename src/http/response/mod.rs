//! What every response shares: problem documents.

pub(crate) mod error;
