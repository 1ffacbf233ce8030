//! The SQL of analytics: one function a statement, tenant first. `answering.rs` is what questions
//! read, `counting.rs` what the follower does, `keeping.rs` merging, rebuilding and verifying;
//! `export.rs` the pages of exports, `latency.rs` histograms.

mod answering;
mod counting;
pub(super) mod export;
mod keeping;
pub(super) mod latency;
mod timestamps;

pub(super) use answering::{
    Answerable, Made, count_made, list_cells, list_delays, list_first_posts, list_raw, list_raw_with_replies,
    list_titles, list_users, load_answerable,
};
pub(super) use counting::{
    Counted, Uncounted, WrittenBlocks, claim_positions, hold_counts, insert_blocks, list_behind, list_posted,
    list_uncounted, load_lag, make_positions, move_positions, prepare_connection, stamp, try_take_lease,
    update_progress, upsert_people,
};
pub(super) use keeping::{
    Mergeable, begin_generation, count_messages, delete_blocks, delete_old_generations, find_mergeable, find_progress,
    find_span, list_people, list_tenants, list_unbuilt, list_unmerged, load_blocks, load_switches, switch_generation,
    try_take_rebuild,
};
