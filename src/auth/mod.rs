//! Who is calling: sign-up, login, tokens, API keys, and what has been revoked since.
//!
//! The way in is [`Auth`]. The files, from the top down:
//!
//! | file | what |
//! |---|---|
//! | `registration.rs` | making users: sign-up, guests |
//! | `logins.rs` | log in, refresh, log out |
//! | `refresh_judgement.rs` | a refresh token that comes again: a lost answer or a thief; pure |
//! | `password_change.rs` | another password ends other logins |
//! | `tickets.rs` | tickets for the socket |
//! | `api_keys.rs` | management of the credentials of programs |
//! | `service.rs` | [`Auth`]: authentication, start and stop |
//! | `upkeep.rs` | the task that polls revocations and removes what has expired |
//! | `login_throttle.rs`, `login_failures.rs` | who guesses passwords waits; the latter is pure |
//! | `known_places.rs` | from where people have logged in, and are not kept out; pure |
//! | `key_lookup.rs` | whom a key stands for, remembered for a minute |
//! | `known_users.rs` | which users are there, remembered for an hour |
//! | `revocation.rs` | what was revoked or changed, in memory |
//! | `last_used.rs` | when keys were last used, written in batches |
//! | `password.rs`, `password_text.rs` | argon2id within bounds; when two passwords are the same, which is pure |
//! | `token.rs`, `signing_key.rs` | access tokens, which is pure, and the key that signs them |
//! | `secret_rotation.rs`, `secret_fingerprint.rs` | whether all nodes of a database sign with the same one |
//! | `store/` | SQL |
//! | `names.rs` | what people, conversations and keys may be called; pure |
//! | `account.rs`, `key_types.rs`, `events.rs`, `error.rs` | plain types |
//! | `principal.rs`, `access.rs` | who is calling, and what conversations and search need of that |
//! | `permissions.rs`, `scopes.rs` | roles and scopes turned into answers; pure |
//! | `credential_marks.rs` | random secrets, and which of them this installation issued |
//! | `opaque.rs` | hashes of random secrets; pure |

mod access;
mod account;
mod api_keys;
mod credential_marks;
mod error;
mod events;
mod issue_budget;
mod key_lookup;
mod key_types;
mod known_places;
mod known_users;
mod last_used;
mod login_failures;
mod login_throttle;
mod logins;
mod names;
mod opaque;
mod password;
mod password_change;
mod password_places;
mod password_text;
mod permissions;
mod principal;
mod refresh_judgement;
mod registration;
mod revocation;
mod scopes;
mod secret_fingerprint;
mod secret_rotation;
mod service;
mod signing_key;
mod store;
mod tickets;
mod token;
mod upkeep;

pub use access::{Access, AllowedConversations};
pub use account::{Account, EMAIL_BYTES_MAX, Tenant, User, check_email};
pub use error::Error;
pub use events::{AuthEvent, UserState};
pub use key_lookup::is_key as is_api_key;
pub use key_types::{ApiKey, IssuedKey, NewApiKey};
pub use logins::{IssuedLogin, Keys};
pub use names::check_name;
pub use password::hash_password;
pub use permissions::{Action, ChangedUser, UserChange, UserChangeRefusal, check_user_change};
pub use principal::{Credential, CredentialId, Principal};
pub use registration::Registration;
pub use scopes::{Scope, Scopes};
pub use secret_rotation::Proof;
pub use service::{Auth, rotate_secret};
pub use signing_key::load_signing_key;
pub use tickets::SocketTicket;
pub use token::TokenError;
