//! Puts a demo year into a database: one transaction, so that an interrupted one leaves nothing.
//!
//! Used by `parlance demo`. It commits before a node serves. What follows the messages behind
//! (the index of search) finds them like what another node has written.

use super::plan::{DemoPlan, EMAIL, PASSWORD};
use super::store::{self, ROWS};
use super::timeline::Timeline;
use super::{cast, rhythm, rooms, timeline};
use crate::auth;
use crate::database::{self, Database, Transaction};
use crate::ids::TenantId;
use chrono::DateTime;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::HashSet;

/// What the workspace is called.
const WORKSPACE: &str = "A year of Analytical Engines";

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The year was made.
    Made {
        people: usize,
        conversations: usize,
        messages: u64,
    },
    /// There was one already, of whatever seed.
    Found,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this database has other workspaces; a demo wants one of its own (another DATA_DIR, or DATABASE_URL)")]
    NotEmpty,
    #[error(transparent)]
    Password(#[from] auth::Error),
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Makes the year, unless there is one. `progress` is called with the messages written so far.
///
/// # Errors
/// [`Error`]; then nothing of it is there.
pub async fn load(database: &Database, plan: &DemoPlan, mut progress: impl FnMut(u64)) -> Result<Loaded, Error> {
    let mut client = database.client().await?;
    let present = store::look(&client, EMAIL).await?;
    if present.has_demo {
        return Ok(Loaded::Found);
    }
    if present.others > 0 {
        return Err(Error::NotEmpty);
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let people = cast::make(plan, &mut rng);
    let rooms = rooms::make(plan, &people, &mut rng);
    let hash = auth::hash_password(PASSWORD).await?;
    let tx = client.transaction().await?;
    let founded_ms = people.first().map_or(0, |owner| owner.since_ms);
    let tenant = TenantId(cast::id_at(founded_ms, &mut rng));
    let founded_at = DateTime::from_timestamp_millis(founded_ms).unwrap_or_default();
    store::insert_tenant(&tx, tenant, WORKSPACE, founded_at).await?;
    let last_day = plan.day_of(plan.until.timestamp_millis());
    store::copy_people(&tx, tenant, &people, &hash, |person| person.gone_day <= last_day).await?;
    let mut written = 0;
    for room in &rooms {
        let said = rhythm::talk(plan, &people, room, &mut rng);
        let one = timeline::tell(plan, &people, room, &said, &mut rng);
        copy(&tx, tenant, &one, |messages| {
            written += messages;
            progress(written);
        })
        .await?;
    }
    tx.commit().await?;
    store::analyze(&client).await?;
    Ok(Loaded::Made {
        people: people.len(),
        conversations: rooms.len(),
        messages: written,
    })
}

async fn copy(tx: &Transaction<'_>, tenant: TenantId, one: &Timeline, mut wrote: impl FnMut(u64)) -> Result<(), Error> {
    store::insert_conversation(tx, tenant, one).await?;
    store::copy_members(tx, tenant, one.id, &one.members).await?;
    for messages in one.messages.chunks(ROWS) {
        store::copy_messages(tx, tenant, one.id, messages).await?;
        wrote(u64::try_from(messages.len()).unwrap_or(0));
    }
    // Those of a message that was deleted later went with it.
    let deleted = one.messages.iter().filter(|message| message.deleted_at.is_some());
    let deleted: HashSet<_> = deleted.map(|message| message.seq).collect();
    let left: Vec<_> = one
        .reactions
        .iter()
        .filter(|reaction| !deleted.contains(&reaction.seq))
        .collect();
    for reactions in left.chunks(ROWS) {
        store::copy_reactions(tx, one.id, reactions).await?;
    }
    Ok(())
}
