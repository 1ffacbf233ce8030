//! Faults, survived: the whole of an installation under load, while its parts are killed, frozen, cut off and filled up.

#![allow(dead_code, reason = "under construction")]

mod checker;
mod history;
