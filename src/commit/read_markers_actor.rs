//! Writes the read markers once a second (`read_markers.rs`). A crash loses nothing that waits: the
//! markers outlive the actor.

use super::read_markers::ReadMarkers;
use crate::database::Database;
use crate::supervision::{DeathGuard, start, supervise};
use actix::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// What the actor is called in logs and metrics.
pub(super) const ACTOR: &str = "read_markers";
/// How often read markers are written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct ReadMarkersActor {
    markers: Arc<ReadMarkers>,
    database: Database,
    _guard: DeathGuard,
}

impl ReadMarkersActor {
    pub(super) async fn supervise(markers: Arc<ReadMarkers>, database: Database) {
        let begin = |_, guard| {
            let actor = Self {
                markers: markers.clone(),
                database: database.clone(),
                _guard: guard,
            };
            start(ACTOR, None, actor);
        };
        supervise(ACTOR, begin).await;
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        fail::fail_point!("commit::read_markers");
        let (markers, database) = (self.markers.clone(), self.database.clone());
        let flush = async move { markers.flush(&database).await };
        // The next flush is armed when this one has ended, so that they never overlap.
        ctx.spawn(flush.into_actor(self).map(|(), _, ctx| {
            ctx.run_later(FLUSH_INTERVAL, Self::flush);
        }));
    }
}

impl Actor for ReadMarkersActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(FLUSH_INTERVAL, Self::flush);
    }
}
