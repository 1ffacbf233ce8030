//! What serves: the application that every worker runs, and the deadlines of connections.

pub(crate) mod application;
pub(crate) mod deadlines;
