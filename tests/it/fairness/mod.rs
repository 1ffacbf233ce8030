//! What tenants share on a node: one that does its worst, and a neighbour who is served. Each attack is small and bounded;
//! what is looked at is what was done, and in which order, never how long it took.

mod hashing;
mod pages;
mod search;
mod starts;

use crate::support::Scrape;

/// How often a statement has been carried out.
fn times(page: &Scrape, statement: &str) -> f64 {
    page.value("db_query_duration_seconds_count", &[("query", statement)])
}

/// How often somebody was held back at a shared thing.
fn held_back(page: &Scrape, resource: &str, outcome: &str) -> f64 {
    page.value("held_back_total", &[("outcome", outcome), ("resource", resource)])
}
