//! Errors of the features as failed requests: what of them is public, and what only the log says.

use super::error::Error;
use super::problem::FieldError;
use crate::error::Code;
use crate::{analytics, auth, conversations, database, onboarding, search, tenants};

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        match error {
            auth::Error::Invalid { field, message } => Self::field(field, message),
            auth::Error::Throttled(wait) => Self::too_many(wait),
            auth::Error::EmailTaken => {
                let errors = vec![FieldError {
                    field: "email".to_owned(),
                    message: error.to_string(),
                }];
                Self::with_detail(Code::Conflict, error.to_string()).with_fields(errors)
            }
            other => Self::from_feature(other.code(), other.to_string()),
        }
    }
}

impl From<tenants::Error> for Error {
    fn from(error: tenants::Error) -> Self {
        match error {
            tenants::Error::Auth(error) => error.into(),
            other => Self::from_feature(other.code(), other.to_string()),
        }
    }
}

impl From<conversations::Error> for Error {
    fn from(error: conversations::Error) -> Self {
        if let conversations::Error::StartsSpent(wait) = error {
            return Self::too_many(wait);
        }
        let own = Self::with_detail(error.code(), error.message());
        // A refusal is a reply like others; anything else is something to look into.
        let is_refusal = matches!(error, conversations::Error::Refused(..)) || error.code().http_status() < 500;
        if is_refusal {
            own
        } else {
            own.with_cause(error.to_string())
        }
    }
}

impl From<onboarding::Error> for Error {
    fn from(error: onboarding::Error) -> Self {
        match error {
            onboarding::Error::Auth(error) => error.into(),
            onboarding::Error::Conversations(error) => error.into(),
        }
    }
}

impl From<search::Error> for Error {
    fn from(error: search::Error) -> Self {
        match error {
            search::Error::NotFound | search::Error::Overloaded => Self::new(error.code()),
            search::Error::Database(error) => error.into(),
        }
    }
}

impl From<&analytics::Error> for Error {
    fn from(error: &analytics::Error) -> Self {
        match error {
            analytics::Error::Wrong(wrong) => Self::wrong_parameter(wrong.field, wrong.message.clone()),
            other => Self::new(other.code()).with_cause(other.to_string()),
        }
    }
}

impl From<analytics::Error> for Error {
    fn from(error: analytics::Error) -> Self {
        Self::from(&error)
    }
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        // A database refusal has no text for strangers, whatever its code.
        Self::new(error.code()).with_cause(error.to_string())
    }
}
