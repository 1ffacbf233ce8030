//! All nodes are restarted, one after the other, while everybody writes: said in time, nothing lost, everybody back.

use super::processes::Fleet;
use crate::crash::client::Ledger;
use crate::crash::view::View;
use crate::support::client::Ended;
use crate::support::{PATIENCE, Person, Site, Socket, back_off};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite;

const NODES: usize = 2;
const CONVERSATIONS: usize = 10;
const PEOPLE_EACH: usize = 4;
/// Who was sent away is back and whole within this.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How one connection ended, and how long it took to be whole again.
#[derive(Debug)]
struct Interruption {
    ended: Ended,
    goodbye: Option<Value>,
    away: Duration,
}

/// A client as the protocol describes one: keeps what is not acknowledged, remembers how far it is, goes to another node.
struct Client {
    person: Person,
    sites: Vec<Site>,
    at: usize,
    conversation: ConversationId,
    ledger: Arc<Ledger>,
    view: View,
    /// Sent and not acknowledged.
    open: Option<MessageId>,
    /// Set when a connection has ended, until everything is as before.
    interrupted: Option<(Ended, Option<Value>, Instant)>,
    interruptions: Vec<Interruption>,
    /// Handshakes that were refused, by how.
    refusals: BTreeMap<String, usize>,
}

impl Client {
    /// Writes and reads until told to stop and everything is acknowledged and seen.
    async fn run(mut self, mut stop: watch::Receiver<bool>, mut last_rev: watch::Receiver<i64>) -> Self {
        loop {
            let Some(mut socket) = self.connect().await else {
                continue;
            };
            let mut goodbye = None;
            let ended = match self.work(&mut socket, (&mut stop, &mut last_rev), &mut goodbye).await {
                Ok(()) => {
                    socket.close().await;
                    return self;
                }
                Err(ended) => ended,
            };
            let pause = goodbye
                .as_ref()
                .map_or(0, |frame| frame["retry_after_ms"].as_u64().unwrap());
            self.view.disconnected();
            self.interrupted = Some((ended, goodbye, Instant::now()));
            self.at += 1;
            crate::support::wait_out(Duration::from_millis(pause)).await;
        }
    }

    async fn connect(&mut self) -> Option<Socket> {
        let site = &self.sites[self.at % self.sites.len()];
        let error = match Socket::try_connect(site, &self.person.token).await {
            Ok(socket) => return Some(socket),
            Err(error) => error,
        };
        let how = match error {
            tungstenite::Error::Http(answer) => answer.status().as_u16().to_string(),
            tungstenite::Error::Io(error) => error.kind().to_string(),
            other => format!("{other:?}"),
        };
        *self.refusals.entry(how).or_default() += 1;
        self.at += 1;
        back_off().await;
        None
    }

    async fn work(
        &mut self,
        socket: &mut Socket,
        (stop, last_rev): (&mut watch::Receiver<bool>, &mut watch::Receiver<i64>),
        goodbye: &mut Option<Value>,
    ) -> Result<(), Ended> {
        let (_, rev) = self.view.revisions()[0];
        self.view.resubscribed(self.conversation);
        let subscribe = json!({"type": "subscribe", "ref": "s", "conversation": self.conversation, "after": rev});
        // A connection that has ended says so when it is read.
        socket.try_send_json(&subscribe).await;
        if let Some(id) = self.open {
            self.send(socket, id).await;
        }
        loop {
            let is_over = *stop.borrow();
            if self.open.is_none() && self.view.is_live() {
                self.whole();
                if is_over && self.view.revisions()[0].1 >= *last_rev.borrow() {
                    return Ok(());
                }
                if !is_over && goodbye.is_none() {
                    let id = MessageId::new();
                    self.open = Some(id);
                    self.ledger.sent(self.conversation, id);
                    self.send(socket, id).await;
                }
            }
            let frame = tokio::select! {
                frame = socket.next_frame(PATIENCE) => frame?,
                Ok(()) = stop.changed(), if !is_over => continue,
                Ok(()) = last_rev.changed(), if is_over => continue,
            };
            match frame["type"].as_str().unwrap() {
                "ack" if Some(&frame["id"]) == self.open.map(|id| json!(id)).as_ref() => {
                    self.ledger.acknowledged(self.open.take().unwrap(), &frame);
                }
                "goodbye" => *goodbye = Some(frame),
                "error" => panic!("{frame}"),
                _ => self.view.take(&frame),
            }
        }
    }

    async fn send(&self, socket: &mut Socket, id: MessageId) {
        let frame =
            json!({"type": "send", "ref": id, "conversation": self.conversation, "id": id, "body": format!("{id}")});
        socket.try_send_json(&frame).await;
    }

    /// Everything is there again.
    fn whole(&mut self) {
        if let Some((ended, goodbye, since)) = self.interrupted.take() {
            self.interruptions.push(Interruption {
                ended,
                goodbye,
                away: since.elapsed(),
            });
        }
    }
}

/// Posts over REST until told to stop: what is refused, or has no answer, is posted again elsewhere.
async fn rest_writer(
    person: Person,
    sites: Vec<Site>,
    conversation: ConversationId,
    ledger: Arc<Ledger>,
    stop: watch::Receiver<bool>,
) -> BTreeMap<String, usize> {
    let (mut refusals, mut at) = (BTreeMap::new(), 0);
    while !*stop.borrow() {
        let id = MessageId::new();
        ledger.sent(conversation, id);
        let path = format!("/api/conversations/{conversation}/messages");
        loop {
            let site = &sites[at % sites.len()];
            let body = json!({"id": id, "body": "by REST"});
            let answer = site
                .try_request(reqwest::Method::POST, &path, Some(&person.token), Some(body))
                .await;
            let how = match answer {
                Ok(answer) if answer.status < 300 => {
                    ledger.acknowledged(id, &answer.body);
                    break;
                }
                Ok(answer) => answer.status.to_string(),
                Err(error) if error.is_connect() => "not connected".to_owned(),
                // A connection that was kept, and that the server had just ended.
                Err(error) => format!("broken: {}", std::error::Error::source(&error).unwrap_or(&error)),
            };
            *refusals.entry(how).or_default() += 1;
            at += 1;
            back_off().await;
        }
    }
    refusals
}

#[actix_web::test]
async fn all_nodes_are_restarted_in_turn_and_nobody_misses_anything() {
    let turns: Vec<_> = (0..NODES).map(|number| vec![number]).collect();
    restart_under_load(&turns).await;
}

/// Not how it should be done; but machines are.
#[actix_web::test]
async fn all_nodes_are_restarted_at_once_and_nobody_misses_anything() {
    restart_under_load(&[(0..NODES).collect()]).await;
}

/// Everybody who is at work.
struct Load {
    conversations: Vec<ConversationId>,
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    /// How far each conversation is when all is written.
    ends: Vec<watch::Sender<i64>>,
    clients: Vec<JoinHandle<Client>>,
    by_rest: JoinHandle<BTreeMap<String, usize>>,
}

impl Load {
    /// Lets people in, spread over the nodes, and to work.
    async fn start(fleet: &Fleet) -> Self {
        let sites = fleet.sites();
        let owner = fleet.nodes[0].register("Owner").await;
        let mut conversations = Vec::new();
        for number in 0..CONVERSATIONS {
            conversations.push(owner.create_conversation(&format!("Number {number}")).await);
        }
        let ledger = Arc::new(Ledger::new(&conversations));
        let (stop, stopped) = watch::channel(false);
        let (mut clients, mut ends) = (Vec::new(), Vec::new());
        for (number, conversation) in conversations.iter().copied().enumerate() {
            let (end, last_rev) = watch::channel(i64::MAX);
            ends.push(end);
            let invite = owner.invite(conversation).await;
            for seat in 0..PEOPLE_EACH {
                // A guest needs no password, which would cost more than everything else here.
                let client = Client {
                    person: fleet.nodes[0].guest("Somebody", &invite).await,
                    sites: sites.clone(),
                    at: number + seat,
                    conversation,
                    ledger: ledger.clone(),
                    view: View::new(&[conversation]),
                    open: None,
                    interrupted: None,
                    interruptions: Vec::new(),
                    refusals: BTreeMap::new(),
                };
                clients.push(tokio::spawn(client.run(stopped.clone(), last_rev.clone())));
            }
        }
        let by_rest = tokio::spawn(rest_writer(owner, sites, conversations[0], ledger.clone(), stopped));
        Self {
            conversations,
            ledger,
            stop,
            ends,
            clients,
            by_rest,
        }
    }

    /// Lets everything that was begun come to its end, and compares.
    async fn check(self, fleet: &Fleet) {
        self.stop.send_replace(true);
        let rest_refusals = self.by_rest.await.unwrap();
        // Everybody's writing has ended with its acknowledgement before they look whether they have everything.
        self.ledger.wait_for_all().await;
        let truth = View::of_database(fleet.database.url(), &self.conversations).await;
        for (end, conversation) in self.ends.iter().zip(&self.conversations) {
            end.send_replace(truth.revision_of(*conversation));
        }
        let (mut interruptions, mut refusals) = (Vec::new(), BTreeMap::<String, usize>::new());
        for (number, client) in self.clients.into_iter().enumerate() {
            let ended = tokio::time::timeout(PATIENCE, client).await;
            let client = ended.expect("a client did not come to its end").unwrap();
            client.view.assert_same(&truth, number);
            assert!(!client.interruptions.is_empty(), "each was sent away");
            interruptions.extend(client.interruptions);
            for (how, count) in client.refusals {
                *refusals.entry(how).or_default() += count;
            }
        }
        let acknowledged = self.ledger.check(&truth);
        let longest = interruptions.iter().map(|interruption| interruption.away).max();
        eprintln!(
            "{acknowledged} messages; {} interruptions, the longest {longest:?}; handshakes refused: {refusals:?}; \
             REST: {rest_refusals:?}",
            interruptions.len()
        );
        for Interruption { ended, goodbye, away } in &interruptions {
            assert_eq!(*ended, Ended::Closed(4203));
            let goodbye = goodbye.as_ref().expect("nobody is closed without a goodbye");
            assert!(goodbye["retry_after_ms"].as_u64().unwrap() <= 2_000, "{goodbye}");
            assert!(*away < BACK_WITHIN, "{away:?}");
        }
        // A node that is not there, one that says that it goes, or one that went while the connection waited in the kernel.
        let is_plain = |how: &String| ["503", "connection refused", "connection reset"].contains(&how.as_str());
        assert!(refusals.keys().all(is_plain), "{refusals:?}");
        let is_failure = |how: &String| how.starts_with('5') && how != "503";
        assert!(!rest_refusals.keys().any(is_failure), "{rest_refusals:?}");
    }
}

/// Restarts nodes while everybody writes, turn after turn those that are named in it.
async fn restart_under_load(turns: &[Vec<usize>]) {
    let mut fleet = Fleet::start(NODES, &[]).await;
    let load = Load::start(&fleet).await;
    load.ledger.wait_for_more(200).await;
    for turn in turns {
        let numbers = turn.clone();
        fleet = tokio::task::spawn_blocking(move || restart(fleet, &numbers))
            .await
            .unwrap();
        // Everybody writes again, on the nodes that stayed and on those that came.
        load.ledger.wait_for_more(200).await;
    }
    load.check(&fleet).await;
    fleet.stop().await;
}

/// Stops some nodes in order, and starts them again when they have ended.
fn restart(mut fleet: Fleet, numbers: &[usize]) -> Fleet {
    let started = Instant::now();
    numbers.iter().for_each(|number| fleet.nodes[*number].begin_stop());
    for number in numbers {
        let node = &mut fleet.nodes[*number];
        let status = node.wait(Duration::from_secs(35));
        assert!(status.success(), "{status}");
        assert!(!node.log().contains("left behind"));
    }
    eprintln!("nodes {numbers:?} stopped in {:?}", started.elapsed());
    numbers.iter().for_each(|number| fleet.nodes[*number].restart());
    fleet
}
