//! The routes: a file for each resource, the table of paths, and what each route needs and bears.
//!
//! A handler is thin. It takes typed input, calls one feature, and encodes the reply.

pub(crate) mod access;
pub(crate) mod analytics;
pub(crate) mod analytics_answers;
pub(crate) mod analytics_export;
pub(crate) mod analytics_latency;
pub(crate) mod auth;
pub(crate) mod blocks;
pub(crate) mod conversations;
pub(crate) mod health;
pub(crate) mod invites;
pub(crate) mod keys;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod metrics;
pub(crate) mod pages;
pub(crate) mod search;
pub(crate) mod socket;
pub(crate) mod table;
pub(crate) mod tenant;
pub(crate) mod users;
