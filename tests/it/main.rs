//! The integration tests: one binary, so that it links once; one file per feature, support below.
//!
//! Each test speaks to a whole node (or two, or a process) over its real edges and has a database of its own. A new test
//! is five lines:
//!
//! ```ignore
//! #[actix_web::test]
//! async fn a_message_comes_back() {
//!     let app = TestApp::start().await;
//!     let (ann, conversation) = app.person_with_conversation("Ann").await;
//!     let mut socket = ann.connect().await;
//!     socket.subscribe(conversation, None).await;
//!     socket.post(conversation, MessageId::new(), "hello").await;
//!     assert_eq!(socket.expect("message").await["body"], "hello");
//!     app.stop().await;
//! }
//! ```
//!
//! `make test-it` starts the PostgreSQL they share; `scripts/test.sh it NAME` runs those whose name contains it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::let_underscore_must_use,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]
#![allow(unreachable_pub, reason = "everything here is only for this binary")]

mod access_matrix;
mod additions;
mod analytics;
mod auth;
mod backup;
mod bounds;
mod cache;
mod commit;
mod configuration;
mod cookies;
mod crash;
mod database;
mod demo;
mod descriptors;
mod documents;
mod ending;
mod fairness;
mod framework;
mod hardening;
mod health;
mod hosts;
mod invites;
mod keys;
mod limits;
mod limits_shared;
mod limits_sliding;
mod log;
mod logins;
mod members;
mod metrics;
mod neighbours;
mod nginx;
mod nodes;
mod ops;
mod passivation;
mod passwords;
mod plans;
mod program;
mod protocol;
mod redis;
mod redis_bus;
mod redis_cluster;
mod replica;
mod rest;
mod resume;
mod revocation;
mod routes;
mod search;
mod search_index;
mod secret_rotation;
mod shutdown;
mod slow_reader;
mod smoke;
mod soak;
mod socket;
mod supervision;
mod support;
mod tidy;
mod tidy_documents;
mod tidy_imports;
mod tidy_tenants;
mod tls;
mod users;
