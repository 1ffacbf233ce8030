//! Onboarding: how people come in, by sign-up, as guests, and by invites.
//!
//! It is what needs `auth` and `conversations` together: `auth` makes users and their logins,
//! `conversations` decides who may join. Used by `http/` only. The way in is [`Onboarding`].

mod error;
mod service;

pub use error::Error;
pub use service::Onboarding;
