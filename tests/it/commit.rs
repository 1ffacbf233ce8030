//! The road to durability, by itself: groups, bounds, poison, lost answers, deadlines.
//!
//! Most tests speak to [`CommitHandle`] directly, because only there can ten thousand operations wait at the same time;
//! a node makes the rows that they need.

use crate::support::chaos::{Chaos, Proxy};
use crate::support::db::connect;
use crate::support::{Person, TestApp, eventually};
use bytestring::ByteString;
use parlance::commit::{
    CommitHandle, CommitObservers, Completion, DEADLINE, Error, OPERATIONS_MAX, Operation, Receipt, Request,
    Requirement,
};
use parlance::config::Secret;
use parlance::database::Database;
use parlance::ids::{ConversationId, MemberRole, MessageId, UserKind};
use parlance::supervision::ArbiterPool;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// One lane behind a proxy, and rows to write to.
struct Lane {
    app: TestApp,
    proxy: Proxy,
    database: Database,
    arbiters: ArbiterPool,
    commits: CommitHandle,
    ann: Person,
    conversations: Vec<ConversationId>,
}

type Answer = oneshot::Receiver<Result<Receipt, Error>>;

impl Lane {
    async fn start(conversations: usize) -> Self {
        let app = TestApp::start().await;
        let ann = app.register("Ann").await;
        let mut made = Vec::new();
        for n in 0..conversations {
            made.push(ann.create_conversation(&format!("{n}")).await);
        }
        let proxy = Proxy::start(app.database.url()).await;
        let mut config = app.config.clone();
        config.database.url = Some(Secret::new(proxy.url()));
        let database = Database::open(&config).await.unwrap();
        let arbiters = ArbiterPool::start(1);
        let observers = CommitObservers::new(Vec::new());
        let commits = CommitHandle::start(database.clone(), 1, &arbiters, &observers);
        Self {
            app,
            proxy,
            database,
            arbiters,
            commits,
            ann,
            conversations: made,
        }
    }

    fn submit(&self, conversation: usize, request: Request, patience: Duration) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.commits.submit(Operation {
            tenant_id: self.ann.tenant,
            conversation_id: self.conversations[conversation],
            actor_id: self.ann.id,
            actor_kind: UserKind::Person,
            requirement: Requirement::Role(MemberRole::Member),
            request,
            deadline: Instant::now() + patience,
            done: Completion::new(move |result| answer.send(result).unwrap()),
        });
        answered
    }

    fn post(&self, conversation: usize, body: &str) -> Answer {
        self.submit(conversation, post(MessageId::new(), body), DEADLINE)
    }

    /// Makes the lane wait for an answer that does not come.
    async fn freeze(&self, patience: Duration) -> Answer {
        self.post(0, "connects").await.unwrap().unwrap();
        self.proxy.set(Chaos::Freeze);
        let first = self.submit(0, post(MessageId::new(), "is in flight"), patience);
        eventually("the lane has taken the first", async || {
            self.commits.lane_depths() == [0]
        })
        .await;
        first
    }

    async fn count(&self, sql: &str) -> i64 {
        self.app.database.query(sql, &[]).await[0].get(0)
    }

    async fn stop(self) {
        self.commits.flush().await;
        self.arbiters.stop();
        drop((self.commits, self.proxy));
        self.database.close().await;
        self.app.stop().await;
    }
}

fn post(id: MessageId, body: &str) -> Request {
    Request::Post {
        id,
        body: ByteString::from(body),
        reply_to: None,
    }
}

#[actix_web::test]
async fn what_gathers_while_a_commit_is_in_flight_is_one_transaction() {
    let lane = Lane::start(10).await;
    let first = lane.freeze(DEADLINE).await;
    let answers: Vec<_> = (0..2_000).map(|n| lane.post(n % 10, &format!("{n}"))).collect();
    lane.proxy.heal();
    first.await.unwrap().unwrap();
    let mut last = [0; 10];
    for (n, answer) in answers.into_iter().enumerate() {
        let seq = answer.await.unwrap().unwrap().seq.unwrap().0;
        assert!(seq > last[n % 10], "the order of arrival");
        last[n % 10] = seq;
    }
    let transactions = lane.count("SELECT count(DISTINCT xmin::text) FROM messages").await;
    assert!(transactions <= 2 + 2_000 / 500 + 1, "{transactions} transactions");
    lane.stop().await;
}

#[actix_web::test]
async fn ten_thousand_may_wait_and_the_next_is_refused() {
    let lane = Lane::start(1).await;
    let first = lane.freeze(DEADLINE).await;
    let mut answers: Vec<_> = (0..OPERATIONS_MAX).map(|n| lane.post(0, &format!("{n}"))).collect();
    assert_eq!(lane.commits.lane_depths(), [OPERATIONS_MAX]);
    let refused = lane.post(0, "one too many").await.unwrap();
    assert_eq!(refused, Err(Error::Overloaded));
    assert!(
        answers.iter_mut().all(|answer| answer.try_recv().is_err()),
        "nothing is acknowledged"
    );
    lane.proxy.heal();
    first.await.unwrap().unwrap();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    let stored = lane.count("SELECT count(*) FROM messages").await;
    assert_eq!(stored, OPERATIONS_MAX as i64 + 2);
    lane.stop().await;
}

#[actix_web::test]
async fn poison_is_found_and_the_others_of_its_group_are_committed() {
    let lane = Lane::start(3).await;
    let sql = "ALTER TABLE messages ADD CHECK (body <> 'poison')";
    lane.app.database.query(sql, &[]).await;
    let first = lane.freeze(DEADLINE).await;
    let bodies: Vec<_> = (0..100)
        .map(|n| if n == 37 { "poison".to_owned() } else { n.to_string() })
        .collect();
    let answers: Vec<_> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| lane.post(n % 3, body))
        .collect();
    lane.proxy.heal();
    first.await.unwrap().unwrap();
    for (body, answer) in bodies.iter().zip(answers) {
        match answer.await.unwrap() {
            Ok(_) => assert_ne!(body, "poison"),
            Err(error) => assert_eq!((body.as_str(), error), ("poison", Error::Poison)),
        }
    }
    let holes = "SELECT count(*) FROM conversations c WHERE last_seq <> \
                 (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id)";
    assert_eq!(lane.count(holes).await, 0);
    assert_eq!(Error::Poison.code(), parlance::error::Code::Internal);
    lane.stop().await;
}

#[actix_web::test]
async fn a_locked_conversation_holds_up_no_other_of_its_group() {
    let lane = Lane::start(3).await;
    let holder = connect(lane.app.database.url()).await;
    holder.batch_execute("BEGIN").await.unwrap();
    let lock = "SELECT FROM conversations WHERE id = $1 FOR UPDATE";
    holder.query(lock, &[&lane.conversations[1].0]).await.unwrap();
    let first = lane.freeze(DEADLINE).await;
    let answers: Vec<_> = (0..30).map(|n| lane.post(n % 3, &format!("{n}"))).collect();
    lane.proxy.heal();
    first.await.unwrap().unwrap();
    let mut held = Vec::new();
    for (n, mut answer) in answers.into_iter().enumerate() {
        if n % 3 == 1 {
            assert!(answer.try_recv().is_err());
            held.push(answer);
        } else {
            answer.await.unwrap().unwrap();
        }
    }
    holder.batch_execute("COMMIT").await.unwrap();
    drop(holder);
    for (n, answer) in held.into_iter().enumerate() {
        assert_eq!(
            answer.await.unwrap().unwrap().seq.unwrap().0,
            n as i64 + 1,
            "in the order of arrival"
        );
    }
    lane.stop().await;
}

#[actix_web::test]
async fn a_commit_whose_answer_is_lost_is_found_again() {
    let lane = Lane::start(1).await;
    // The commit takes a while, so that the connection can be cut in its middle.
    lane.app
        .database
        .query(
            "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'",
            &[],
        )
        .await;
    let trigger = "CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED \
                   FOR EACH ROW EXECUTE FUNCTION pause()";
    lane.app.database.query(trigger, &[]).await;
    let answer = lane.post(0, "once");
    let commits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    eventually("the commit is under way", async || lane.count(commits).await == 1).await;
    lane.proxy.cut_once();
    let receipt = answer.await.unwrap().unwrap();
    assert_eq!(
        (receipt.seq.unwrap().0, receipt.duplicate),
        (1, true),
        "the first attempt was committed after all"
    );
    assert_eq!(lane.count("SELECT count(*) FROM messages").await, 1);
    lane.stop().await;
}

#[actix_web::test]
async fn a_frozen_database_does_not_keep_anybody_beyond_the_deadline() {
    let lane = Lane::start(1).await;
    let (patience, started) = (Duration::from_secs(2), Instant::now());
    let first = lane.freeze(patience).await;
    // Several groups: each is answered by its own time, not one after the other.
    let answers: Vec<_> = (0..2_000)
        .map(|_| lane.submit(0, post(MessageId::new(), "x"), patience))
        .collect();
    for answer in std::iter::once(first).chain(answers) {
        assert_eq!(answer.await.unwrap(), Err(Error::Unavailable));
        let took = started.elapsed();
        assert!(
            took >= patience && took < patience + Duration::from_millis(2_500),
            "{took:?}"
        );
    }
    lane.proxy.cut_once();
    lane.post(0, "well again").await.unwrap().unwrap();
    lane.stop().await;
}

#[actix_web::test]
async fn read_markers_of_a_second_are_one_write() {
    let app = TestApp::start().await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let mut socket = ann.connect().await;
    for _ in 0..40 {
        socket.post(conversation, MessageId::new(), "x").await;
    }
    app.database
        .query("CREATE TABLE written (user_id uuid, seq bigint)", &[])
        .await;
    app.database
        .query(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO written VALUES (NEW.user_id, NEW.read_seq); RETURN NULL; END'",
            &[],
        )
        .await;
    let trigger = "CREATE TRIGGER note AFTER UPDATE OF read_seq ON conversation_members \
                   FOR EACH ROW EXECUTE FUNCTION note()";
    app.database.query(trigger, &[]).await;
    let (mut bobs, started) = (bob.connect().await, Instant::now());
    bobs.subscribe(conversation, None).await;
    for seq in 1..=40 {
        let frame = json!({"type": "read", "conversation": conversation, "seq": seq});
        assert_eq!(bobs.ask(frame).await["type"], "ok");
    }
    let sql = "SELECT count(*), max(seq) FROM written WHERE user_id = $1";
    let written = async || {
        let row = &app.database.query(sql, &[&bob.id.0]).await[0];
        (row.get::<_, i64>(0), row.get::<_, Option<i64>>(1))
    };
    eventually("the last marker is written", async || written().await.1 == Some(40)).await;
    let allowed = started.elapsed().as_secs() as i64 + 1;
    assert!(
        written().await.0 <= allowed,
        "{} writes, {allowed} allowed",
        written().await.0
    );
    app.stop().await;
}

/// New posts, repeated ones, replies, and posts to what is not there, in one group after the other: each gets what is its
/// own, whatever the others of its group are, also in the groups after one with a repeated post.
#[actix_web::test]
async fn repeated_posts_among_new_ones() {
    let lane = Lane::start(3).await;
    let ids: Vec<MessageId> = (0..40).map(|_| MessageId::new()).collect();
    let first = lane.freeze(DEADLINE).await;
    let answers: Vec<_> = (0..40)
        .map(|n| lane.submit(n % 3, post(ids[n], &format!("{n}")), DEADLINE))
        .collect();
    lane.proxy.heal();
    first.await.unwrap().unwrap();
    let mut receipts = Vec::new();
    for answer in answers {
        receipts.push(answer.await.unwrap().unwrap());
    }
    assert!(receipts.iter().all(|receipt| !receipt.duplicate));
    for _ in 0..3 {
        let first = lane.freeze(DEADLINE).await;
        let mut answers = Vec::new();
        for (n, id) in ids.iter().copied().enumerate() {
            // A repeated one, one that is new and replies to it, and one that took another's id.
            answers.push((n, "repeated", lane.submit(n % 3, post(id, &format!("{n}")), DEADLINE)));
            let reply = Request::Post {
                id: MessageId::new(),
                body: ByteString::from("a reply"),
                reply_to: Some(id),
            };
            answers.push((n, "new", lane.submit(n % 3, reply, DEADLINE)));
        }
        answers.push((0, "conflict", lane.submit(0, post(ids[1], "other"), DEADLINE)));
        let astray = Request::Post {
            id: MessageId::new(),
            body: ByteString::from("a reply to nothing"),
            reply_to: Some(MessageId::new()),
        };
        answers.push((0, "astray", lane.submit(0, astray, DEADLINE)));
        lane.proxy.heal();
        first.await.unwrap().unwrap();
        for (n, kind, answer) in answers {
            match (kind, answer.await.unwrap()) {
                ("repeated", Ok(again)) => {
                    assert!(again.duplicate);
                    assert_eq!((again.seq, again.created_at), (receipts[n].seq, receipts[n].created_at));
                }
                ("new", Ok(receipt)) => assert!(!receipt.duplicate),
                ("conflict", Err(Error::Refused(code, _))) => assert_eq!(code.as_str(), "conflict"),
                ("astray", Err(Error::Refused(code, _))) => assert_eq!(code.as_str(), "not_found"),
                other => panic!("{other:?}"),
            }
        }
    }
    // Numbers without holes, and every conversation knows its last.
    let holes = "SELECT count(*) FROM (SELECT conversation_id, max(seq) AS last, count(*) AS n, max(rev) AS rev FROM messages
                                       GROUP BY 1) m
                 JOIN conversations c ON c.id = m.conversation_id WHERE last <> n OR last <> c.last_seq OR m.rev <> c.rev";
    assert_eq!(lane.count(holes).await, 0);
    // 40, and three rounds of 40 replies, and for each freeze one that connects and one that is in flight.
    assert_eq!(lane.count("SELECT count(*) FROM messages").await, 40 + 3 * 40 + 4 * 2);
    lane.stop().await;
}

/// Where most conversations have one member, a large one is still looked up by its member, and not read whole for each post.
#[actix_web::test]
async fn memberships_are_looked_up_one_by_one_whatever_the_statistics_say() {
    let app = TestApp::start().await;
    let (ann, hall) = app.person_with_conversation("Ann").await;
    let sql = "WITH made AS (
                   INSERT INTO conversations (id, tenant_id, user_id, title, member_count)
                   SELECT gen_random_uuid(), $1, $2, 'Alone', 1 FROM generate_series(1, 500) RETURNING id)
               INSERT INTO conversation_members (conversation_id, user_id, tenant_id, role, joined_rev, rev)
               SELECT id, $2, $1, 'owner', 0, 0 FROM made RETURNING 1";
    app.database.query(sql, &[&ann.tenant.0, &ann.id.0]).await;
    let raw = connect(app.database.url()).await;
    raw.batch_execute("ANALYZE conversation_members").await.unwrap();
    // The settings of a lane, and the look-up as its statement has it.
    raw.batch_execute(
        "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
         SET plan_cache_mode = force_generic_plan;
         PREPARE look_up(uuid[], uuid[]) AS SELECT m.user_id FROM unnest($1, $2) AS i (conversation_id, author_id)
         LEFT JOIN LATERAL (
             SELECT m.user_id FROM conversation_members m
             WHERE m.conversation_id = i.conversation_id AND m.user_id = i.author_id AND m.removed_at IS NULL
             LIMIT 1) m ON true",
    )
    .await
    .unwrap();
    let plan: Vec<String> = raw
        .simple_query("EXPLAIN (COSTS OFF) EXECUTE look_up('{}', '{}')")
        .await
        .unwrap()
        .into_iter()
        .filter_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    let plan = plan.join("\n");
    assert!(
        plan.contains("(user_id = i.author_id)") && plan.contains("Index Cond"),
        "{plan}"
    );
    assert!(!plan.contains("Filter"), "{plan}");
    drop((raw, hall));
    app.stop().await;
}
