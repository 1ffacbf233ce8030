//! The whole measurement: fresh servers, every profile, one table beside what the project promises.
//!
//! The short round (`make load`) takes some minutes and shows that every profile works. `--full`
//! takes every number as the median of five, by which the promises are judged.
//!
//! `arguments.rs` says what is wanted, `run.rs` runs it, `rows.rs` is the table. `single_node.rs`
//! measures one node by itself, `nodes.rs` several nodes, `nginx.rs` the proxy in front.

mod arguments;
mod nginx;
mod nodes;
mod rows;
mod run;
mod single_node;

pub(crate) use arguments::Arguments;
pub(crate) use run::run;
