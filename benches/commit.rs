//! Durable messages per second through commit alone: its lanes, a PostgreSQL of their own with
//! fsync on, and nothing above them.
//!
//! This is the ceiling of what a node can acknowledge. The load has the shape of a busy
//! installation: 1,000 conversations, each with a few sends in flight, so that groups are large and
//! no row is hot. A run ends when the last message is acknowledged; the figure is the median of
//! five runs. It is no criterion benchmark, because one measurement takes seconds and leaves rows
//! behind.

use actix::System;
use parlance::commit::{CommitHandle, CommitObservers, Completion, DEADLINE, Operation, Request, Requirement};
use parlance::config::Config;
use parlance::database::{Database, Statement};
use parlance::ids::{ConversationId, MemberRole, MessageId, TenantId, UserId, UserKind};
use parlance::supervision::ArbiterPool;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;

const CONVERSATIONS: usize = 1_000;
/// Messages of one run.
const MESSAGES: usize = 100_000;
/// Sends of each conversation that wait for their acknowledgement.
const IN_FLIGHT: usize = 4;
const BODY_BYTES: usize = 128;
const RUNS: usize = 5;
/// What the project promises, messages per second.
const MUST: f64 = 25_000.0;
const AIM: f64 = 60_000.0;

const PREPARE: Statement = Statement::new(
    "bench.prepare",
    "WITH tenant AS (
         INSERT INTO tenants (id, name) VALUES ($1, 'Bench')
     ), author AS (
         INSERT INTO users (id, tenant_id, name, role, tier) VALUES ($2, $1, 'Author', 'owner', 'regular')
     ), made AS (
         INSERT INTO conversations (id, tenant_id, user_id, title, member_count)
         SELECT id, $1, $2, 'Bench', 1 FROM unnest($3::uuid[]) AS id
     )
     INSERT INTO conversation_members (conversation_id, user_id, tenant_id, role, joined_rev, rev)
     SELECT id, $2, $1, 'owner', 0, 0 FROM unnest($3::uuid[]) AS id",
);
const COUNT: Statement = Statement::new("bench.count", "SELECT count(*) FROM messages");

/// Who writes, and where.
struct Scene {
    tenant: TenantId,
    author: UserId,
    conversations: Vec<ConversationId>,
    body: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("parlance-bench.{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = System::new().block_on(measure(&folder));
    fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(folder: &Path) -> Result<(), Box<dyn Error>> {
    // PostgreSQL may run as an account of its own.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let config = Config {
        data_dir: folder.join("data"),
        ..Config::default()
    };
    let database = Database::open(&config).await?;
    let scene = prepare(&database).await?;
    let arbiters = ArbiterPool::start(config.conversations.arbiters);
    let observers = CommitObservers::new(Vec::new());
    let commits = CommitHandle::start(
        database.clone(),
        config.conversations.persistence_lanes,
        &arbiters,
        &observers,
    );

    // Connections, prepared statements and the first pages of the tables.
    run(&commits, &scene, MESSAGES / 10).await?;
    let mut rates = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        rates.push(run(&commits, &scene, MESSAGES).await?);
    }
    commits.flush().await;
    let stored: i64 = database.client().await?.query_one(&COUNT, &[]).await?.get(0);
    arbiters.stop();
    database.close().await;
    if stored != i64::try_from(MESSAGES / 10 + RUNS * MESSAGES)? {
        return Err(format!("{stored} messages are stored, which is not what was acknowledged").into());
    }
    report(&mut rates)
}

async fn prepare(database: &Database) -> Result<Scene, Box<dyn Error>> {
    let scene = Scene {
        tenant: TenantId::new(),
        author: UserId::new(),
        conversations: (0..CONVERSATIONS).map(|_| ConversationId::new()).collect(),
        body: "x".repeat(BODY_BYTES),
    };
    let ids: Vec<_> = scene.conversations.iter().map(|id| id.0).collect();
    database
        .client()
        .await?
        .execute(&PREPARE, &[&scene.tenant.0, &scene.author.0, &ids])
        .await?;
    Ok(scene)
}

/// Posts `messages` round robin; messages per second from the first submission to the last
/// acknowledgement.
async fn run(commits: &CommitHandle, scene: &Scene, messages: usize) -> Result<f64, Box<dyn Error>> {
    let room = CONVERSATIONS * IN_FLIGHT;
    let (window, refused) = (Arc::new(Semaphore::new(room)), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    for conversation_id in scene.conversations.iter().cycle().take(messages) {
        window.acquire().await?.forget();
        let (window, refused) = (window.clone(), refused.clone());
        let done = Completion::new(move |result| {
            if result.is_err() {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            window.add_permits(1);
        });
        commits.submit(Operation {
            tenant_id: scene.tenant,
            conversation_id: *conversation_id,
            actor_id: scene.author,
            actor_kind: UserKind::Person,
            requirement: Requirement::Role(MemberRole::Member),
            request: Request::Post {
                id: MessageId::new(),
                body: scene.body.as_str().into(),
                reply_to: None,
            },
            deadline: Instant::now() + DEADLINE,
            done,
        });
    }
    let _everything = window.acquire_many(u32::try_from(room)?).await?;
    let rate = messages as f64 / started.elapsed().as_secs_f64();
    match refused.load(Ordering::Relaxed) {
        0 => Ok(rate),
        refused => Err(format!("{refused} messages were refused").into()),
    }
}

fn report(rates: &mut [f64]) -> Result<(), Box<dyn Error>> {
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    let verdict = if median >= AIM {
        "aim"
    } else if median >= MUST {
        "must"
    } else {
        "MISSED"
    };
    let all: Vec<_> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    Ok(writeln!(
        std::io::stdout(),
        "durable messages/s, {CONVERSATIONS} conversations, fsync on: {median:.0} (median of {}; must {MUST}, aim {AIM}): {verdict}",
        all.join(", ")
    )?)
}
