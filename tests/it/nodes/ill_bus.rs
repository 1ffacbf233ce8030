//! A bus that loses, doubles, reorders and delays: live readers on both sides still see every revision once, in order.

use crate::crash::client::{Ledger, writer};
use crate::crash::view::View;
use crate::support::{PATIENCE, Person, TestApp, pace};
use parking_lot::Mutex;
use parlance::bus::{Bus, Delivery, Envelope, InProcessBus, Interest, To};
use parlance::ids::{ConversationId, NodeId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What became of envelopes.
#[derive(Debug, Default)]
struct Fates {
    lost: AtomicUsize,
    doubled: AtomicUsize,
    late: AtomicUsize,
    very_late: AtomicUsize,
}

/// The bus, and its dice.
struct Ill {
    inner: Arc<InProcessBus>,
    random: Mutex<StdRng>,
    fates: Arc<Fates>,
}

impl Ill {
    fn later(&self, (from, to): (NodeId, To), envelope: Envelope, delay: Duration) {
        let bus = self.inner.clone();
        tokio::spawn(async move {
            pace(delay).await;
            bus.publish(from, to, envelope);
        });
    }
}

impl Bus for Ill {
    fn publish(&self, from: NodeId, to: To, envelope: Envelope) {
        let (dice, short, long) = {
            let mut random = self.random.lock();
            let mut between = |from, to| Duration::from_millis(random.random_range(from..to));
            let (short, long) = (between(0, 60), between(500, 3_000));
            (random.random_range(0..100), short, long)
        };
        let count = |fate: &AtomicUsize| {
            fate.fetch_add(1, Ordering::Relaxed);
        };
        match dice {
            0..10 => count(&self.fates.lost),
            10..25 => {
                count(&self.fates.doubled);
                self.inner.publish(from, to, envelope.clone());
                self.later((from, to), envelope, if dice < 20 { short } else { long });
            }
            25..60 => {
                count(&self.fates.late);
                self.later((from, to), envelope, short);
            }
            60..65 => {
                count(&self.fates.very_late);
                self.later((from, to), envelope, long);
            }
            _ => self.inner.publish(from, to, envelope),
        }
    }

    fn has_peers(&self, node: NodeId) -> bool {
        self.inner.has_peers(node)
    }

    fn subscribe(&self, node: NodeId, interest: Interest) -> mpsc::Receiver<Delivery> {
        self.inner.subscribe(node, interest)
    }

    fn name(&self) -> &'static str {
        "ill"
    }
}

/// Follows on one connection, without ever resuming, until it has everything up to these revisions.
async fn live_reader(person: Person, conversations: Vec<ConversationId>, end: watch::Receiver<Vec<i64>>) -> View {
    let mut view = View::new(&conversations);
    let mut socket = person.connect().await;
    for conversation in &conversations {
        let subscribe = json!({"type": "subscribe", "conversation": conversation, "after": 0});
        socket.send_json(&subscribe).await;
    }
    let is_there = |view: &View| {
        let end = end.borrow();
        let mut both = conversations.iter().zip(&*end);
        !end.is_empty() && both.all(|(id, rev)| view.revision_of(*id) >= *rev)
    };
    while !is_there(&view) {
        match socket.next_frame(Duration::from_millis(100)).await {
            Ok(frame) => view.take(&frame),
            Err(crate::support::client::Ended::TimedOut) => {}
            Err(ended) => panic!("{ended:?}"),
        }
    }
    socket.close().await;
    view
}

#[actix_web::test]
async fn whatever_the_bus_does_readers_see_every_revision_in_order() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let app = TestApp::start().await;
    let fates = Arc::new(Fates::default());
    let mut nodes = Vec::new();
    for number in 0..2_u64 {
        let ill = Ill {
            inner: app.bus.clone(),
            random: Mutex::new(StdRng::seed_from_u64(seed ^ number)),
            fates: fates.clone(),
        };
        nodes.push(app.peer_through(Arc::new(ill)).await);
    }
    let ([ann, bob], first) = app.conversation_of(["Ann", "Bob"]).await;
    let second = ann.create_conversation("Second").await;
    ann.add_member(second, bob.id, "member").await.ok();
    let conversations = vec![first, second];
    let ledger = Arc::new(Ledger::new(&conversations));
    let (stop, stopped) = watch::channel(false);
    let (end, ends) = watch::channel(Vec::new());
    let everywhere = nodes.iter().flat_map(|node| [ann.at(node), bob.at(node)]);
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for (number, person) in everywhere.enumerate() {
        let writing = writer(
            person.clone(),
            ledger.clone(),
            seed ^ (number as u64) << 8,
            stopped.clone(),
        );
        writers.push(tokio::spawn(writing));
        readers.push(tokio::spawn(live_reader(person, conversations.clone(), ends.clone())));
    }
    ledger.wait_for_more(2_000).await;
    stop.send_replace(true);
    for writing in writers {
        let ended = tokio::time::timeout(PATIENCE, writing).await;
        assert_eq!(
            ended.expect("a writer was not answered").unwrap(),
            1,
            "no connection broke"
        );
    }
    let truth = View::of_database(app.database.url(), &conversations).await;
    end.send_replace(conversations.iter().map(|id| truth.revision_of(*id)).collect());
    for (number, reading) in readers.into_iter().enumerate() {
        let ended = tokio::time::timeout(PATIENCE, reading).await;
        ended.expect("a reader is behind").unwrap().assert_same(&truth, number);
    }
    let acknowledged = ledger.check(&truth);
    eprintln!("{acknowledged} messages; {fates:?}");
    let Fates {
        lost,
        doubled,
        late,
        very_late,
    } = &*fates;
    for fate in [lost, doubled, late, very_late] {
        assert!(fate.load(Ordering::Relaxed) > 20, "{fates:?}");
    }
    for node in nodes {
        node.stop().await;
    }
    app.stop().await;
}
