//! What a neighbour waits while one tenant does its worst, in each of some ways.
//!
//! A server is started with the limits that it is delivered with. A neighbour's few people send, list,
//! search and sign in at a gentle rate. First nobody else is there, then the many accounts of
//! another tenant do one thing each as fast as their quotas let them. The neighbour's p99 may be
//! twice that of the quiet node.
//!
//! | file | what |
//! |---|---|
//! | `arguments.rs` | what is asked for |
//! | `people.rs` | the neighbour and the attackers, made through the public API |
//! | `socket.rs` | a blocking WebSocket, one frame at a time |
//! | `neighbour.rs` | what the neighbour does, and how long it takes |
//! | `ways.rs` | what the attackers do |
//! | `run.rs` | one after the other |
//! | `report.rs` | the table and the verdict |
//!
//! Threads and blocking sockets, because an attacker's account is a program of its own. The attack
//! shares the machine with the server, so a ratio has the attack's own cost in it, too.

mod arguments;
mod neighbour;
mod people;
mod report;
mod run;
mod socket;
mod ways;

pub(crate) use arguments::Arguments;
pub(crate) use run::run;
