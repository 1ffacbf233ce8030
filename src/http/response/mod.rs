//! What responses share: errors as problem documents, pages of lists, the headers of quotas, media
//! types.

pub(crate) mod encoding;
pub(crate) mod error;
mod feature_errors;
pub(crate) mod media_type;
pub(crate) mod page;
pub(crate) mod prepared;
pub(crate) mod problem;
pub(crate) mod quota_headers;
