//! Why someone could not come in.

use crate::{auth, conversations};

/// The reason of the feature that refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Auth(#[from] auth::Error),
    #[error(transparent)]
    Conversations(#[from] conversations::Error),
}
