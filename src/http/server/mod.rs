//! What serves: listeners, the servers, the application that every worker runs, deadlines of
//! connections, which of them give way, readiness.

mod application;
mod connections;
pub(crate) mod deadlines;
mod descriptor;
pub(crate) mod health;
pub(crate) mod listener;
pub(crate) mod serving;
pub(crate) mod upgrade;
