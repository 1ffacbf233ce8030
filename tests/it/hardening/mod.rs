//! What makes the server safe to put on a network: the headers of answers, who may read them from another page, odd
//! requests, slow clients, and what the log says about all of it.

mod answers;
mod crowds;
mod odd_requests;
mod secrets;
mod slow_clients;
