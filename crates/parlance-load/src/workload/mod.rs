//! A workspace at work: people and programs who do what they do all day, for minutes, with a
//! verdict.
//!
//! | file | what |
//! |---|---|
//! | `size.rs` | how many users, for how long, and what is promised (pure) |
//! | `action.rs` | what users do, and how often (pure) |
//! | `cast.rs` | makes the workspace: users, rooms, what was said before |
//! | `person_socket.rs` | the socket of one person, on the person's thread |
//! | `user.rs` | one user from the first action to the last |
//! | `board.rs` | what all of them count |
//! | `sample.rs` | what was counted and used in each interval, and the live line |
//! | `verdict.rs` | what was promised, and what was kept (pure) |
//! | `chart.rs`, `page.rs` | the report for a browser (pure) |
//! | `run.rs` | the whole of it |
//!
//! A user is a thread that sleeps most of the time: 200 of them cost less than the one server they
//! talk to. What the other profiles need (a million deliveries a second on one thread) is not needed
//! here.

mod action;
mod board;
mod cast;
mod chart;
mod page;
mod person_socket;
mod run;
mod sample;
mod size;
mod user;
mod verdict;

pub(crate) use run::{WorkloadArguments, run};
