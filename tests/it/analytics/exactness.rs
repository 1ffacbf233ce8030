//! Every route against PostgreSQL's own arithmetic over the messages, for random histories, zones and ranges.

use super::{Past, ask, counted, load_history, make_agent};
use crate::support::{Person, TestApp};
use parlance::ids::MessageId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Havana",
    "Pacific/Chatham",
];
const DAY_MS: i64 = 86_400_000;
/// 2026-03-01, before the clocks change in the north.
const START_MS: i64 = 1_772_323_200_000;

/// A range and its zone, as they are asked for.
struct Range {
    from: String,
    to: String,
    tz: &'static str,
}

impl Range {
    fn parameters<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [("from", &*self.from), ("to", &*self.to), ("tz", self.tz)];
        own.into_iter().chain(more.iter().copied()).collect()
    }
}

fn moment(ms: i64) -> String {
    let at = chrono::DateTime::from_timestamp_millis(ms).unwrap();
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn random_range(random: &mut StdRng) -> Range {
    let tz = ZONES[random.random_range(0..ZONES.len())];
    let day = |n: i64| moment(START_MS + n * DAY_MS)[..10].to_owned();
    let (from, to) = (random.random_range(-3..60), random.random_range(1..25));
    if random.random_bool(0.5) {
        return Range {
            from: day(from),
            to: day(from + to),
            tz,
        };
    }
    let from_ms = START_MS + from * DAY_MS + random.random_range(0..DAY_MS);
    let to_ms = from_ms + random.random_range(1..25 * DAY_MS);
    Range {
        from: moment(from_ms),
        to: moment(to_ms),
        tz,
    }
}

/// The world of the test, and what PostgreSQL says of it.
struct World {
    app: TestApp,
    boss: Person,
}

impl World {
    /// Rows of a statement whose first three parameters are the tenant and the range of an answer.
    async fn rows(&self, answer: &Value, sql: &str) -> Vec<Row> {
        let time = |name: &str| {
            let text = answer[name].as_str().unwrap();
            chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc()
        };
        let (from, to) = (time("from"), time("to"));
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.boss.tenant.0, &from, &to];
        let tz = answer["tz"].as_str().unwrap();
        let sql = sql
            .replace("$local", &format!("(m.created_at AT TIME ZONE '{tz}')"))
            .replace(
                "$messages",
                "messages m WHERE m.tenant_id = $1 AND m.created_at >= $2 AND m.created_at < $3",
            );
        self.app.database.query(&sql, &parameters).await
    }

    /// A list of texts and numbers.
    async fn pairs(&self, answer: &Value, sql: &str) -> Vec<(String, i64)> {
        let rows = self.rows(answer, sql).await;
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn summary(&self, range: &Range) {
        let answer = ask(&self.boss, "/api/analytics/summary", &range.parameters(&[])).await;
        let sql = "SELECT count(*), count(DISTINCT m.author_id) FILTER (WHERE m.kind = 'person'),
                          count(DISTINCT m.conversation_id),
                          (SELECT count(*) FROM conversations WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3),
                          (SELECT count(*) FROM users WHERE tenant_id = $1 AND kind = 'person' AND created_at >= $2 AND created_at < $3)
                   FROM $messages";
        let row = &self.rows(&answer, sql).await[0];
        let counts: Vec<i64> = (0..5).map(|n| row.get(n)).collect();
        let names = [
            "messages",
            "active_users",
            "active_conversations",
            "conversations_started",
            "new_users",
        ];
        let said: Vec<i64> = names
            .iter()
            .map(|name| answer["current"][name].as_i64().unwrap())
            .collect();
        assert_eq!(said, counts, "{answer}");
        let sql = "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY delay)::bigint FROM (
                       SELECT (extract(epoch FROM m.created_at - (
                           SELECT e.created_at FROM messages e WHERE e.conversation_id = m.conversation_id AND e.seq < m.seq
                             AND e.author_id <> m.author_id ORDER BY e.seq DESC LIMIT 1)) * 1000)::bigint AS delay
                       FROM $messages AND m.kind = 'person') d WHERE delay < 86400000";
        let median: Option<i64> = self.rows(&answer, sql).await[0].get(0);
        assert_eq!(answer["current"]["reply_delay_p50_ms"], json!(median), "{answer}");
        // The range before is what the same question says of it.
        if range.from.len() == 10 {
            let days = |text: &str| text.parse::<chrono::NaiveDate>().unwrap();
            let (from, to) = (days(&range.from), days(&range.to));
            let before = Range {
                from: (from - (to - from)).to_string(),
                to: range.from.clone(),
                tz: range.tz,
            };
            let before = ask(&self.boss, "/api/analytics/summary", &before.parameters(&[])).await;
            assert_eq!(before["current"], answer["previous"], "{answer}");
        }
    }

    async fn messages(&self, range: &Range) {
        for (granularity, length, format) in [
            ("hour", 13, "YYYY-MM-DD\"T\"HH24"),
            ("day", 10, "YYYY-MM-DD"),
            ("month", 7, "YYYY-MM"),
        ] {
            let parameters = range.parameters(&[("granularity", granularity)]);
            let answer = ask(&self.boss, "/api/analytics/messages", &parameters).await;
            let sql = format!("SELECT to_char($local, '{format}'), count(*) FROM $messages GROUP BY 1 ORDER BY 1");
            let expected = self.pairs(&answer, &sql).await;
            let points = answer["points"].as_array().unwrap();
            let values = answer["series"][0]["values"].as_array().into_iter().flatten();
            let mut said: Vec<(String, i64)> = Vec::new();
            for (point, value) in points.iter().zip(values) {
                let label = point.as_str().unwrap()[..length].to_owned();
                let value = value.as_i64().unwrap();
                match said.last_mut() {
                    // An hour that comes twice.
                    Some(last) if last.0 == label => last.1 += value,
                    _ => said.push((label, value)),
                }
            }
            said.retain(|(_, value)| *value > 0);
            assert_eq!(said, expected, "{granularity} {answer}");
        }
        for (group, column) in [
            ("conversation", "conversation_id"),
            ("user", "author_id"),
            ("kind", "kind"),
        ] {
            let parameters = range.parameters(&[("granularity", "week"), ("group_by", group), ("limit", "2")]);
            let answer = ask(&self.boss, "/api/analytics/messages", &parameters).await;
            let sql = format!("SELECT m.{column}::text, count(*) FROM $messages GROUP BY 1 ORDER BY 2 DESC, 1");
            let mut expected = self.pairs(&answer, &sql).await;
            if expected.len() > 2 {
                let others = expected.drain(2..).map(|(_, count)| count).sum();
                expected.push(("other".to_owned(), others));
            }
            let series = answer["series"].as_array().unwrap();
            let said: Vec<(String, i64)> = series
                .iter()
                .map(|one| {
                    let sum: i64 = one["values"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|value| value.as_i64().unwrap())
                        .sum();
                    assert_eq!(one["total"], sum);
                    (one["key"].as_str().unwrap().to_owned(), sum)
                })
                .collect();
            assert_eq!(said, expected, "{group} {answer}");
        }
    }

    async fn active(&self, range: &Range) {
        let answer = ask(&self.boss, "/api/analytics/users/active", &range.parameters(&[])).await;
        for point in answer["points"].as_array().unwrap() {
            let day = &point["at"].as_str().unwrap()[..10];
            let sql = format!(
                "WITH day AS (SELECT m.author_id, m.created_at, $local::date AS day FROM messages m
                              WHERE m.tenant_id = $1 AND m.kind = 'person' AND m.created_at < $3),
                      first AS (SELECT author_id, min(created_at) AS at FROM day GROUP BY 1),
                      here AS (SELECT DISTINCT author_id FROM day WHERE day = '{day}' AND created_at >= $2)
                 SELECT (SELECT count(*) FROM here),
                        (SELECT count(*) FROM here JOIN first USING (author_id)
                         WHERE first.at >= $2 AND (first.at AT TIME ZONE '{tz}')::date = '{day}'),
                        (SELECT count(DISTINCT author_id) FROM day WHERE day > date '{day}' - 7 AND day <= '{day}'),
                        (SELECT count(DISTINCT author_id) FROM day WHERE day > date '{day}' - 30 AND day <= '{day}')",
                tz = range.tz
            );
            let row = &self.rows(&answer, &sql).await[0];
            let expected: Vec<i64> = (0..4).map(|n| row.get(n)).collect();
            let said: Vec<i64> = ["active", "new", "weekly", "monthly"]
                .iter()
                .map(|name| point[name].as_i64().unwrap())
                .collect();
            assert_eq!(said, expected, "{point} {}", range.tz);
            assert_eq!(point["returning"].as_i64().unwrap(), said[0] - said[1]);
            let stickiness = (said[3] > 0).then(|| said[0] as f64 / said[3] as f64);
            assert_eq!(point["stickiness"], json!(stickiness));
        }
    }

    async fn tops(&self, range: &Range) {
        let answer = ask(
            &self.boss,
            "/api/analytics/users/top",
            &range.parameters(&[("limit", "3")]),
        )
        .await;
        let sql = "SELECT m.author_id::text, count(*), count(DISTINCT m.conversation_id), count(DISTINCT $local::date), max(m.created_at)
                   FROM $messages GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3";
        let expected: Vec<Value> = self
            .rows(&answer, sql)
            .await
            .iter()
            .map(|row| {
                json!([
                    row.get::<_, String>(0),
                    row.get::<_, i64>(1),
                    row.get::<_, i64>(2),
                    row.get::<_, i64>(3),
                    moment(row.get::<_, chrono::DateTime<chrono::Utc>>(4).timestamp_millis()),
                ])
            })
            .collect();
        let said: Vec<Value> = answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                json!([
                    item["user"]["id"],
                    item["messages"],
                    item["conversations"],
                    item["active_days"],
                    item["last_message_at"],
                ])
            })
            .collect();
        assert_eq!(said, expected, "{answer}");
    }

    async fn conversations(&self, range: &Range) {
        for (sort, order) in [("messages", "2"), ("participants", "3"), ("recent", "4")] {
            let parameters = range.parameters(&[("limit", "3"), ("sort", sort)]);
            let answer = ask(&self.boss, "/api/analytics/conversations/top", &parameters).await;
            let sql = format!(
                "SELECT m.conversation_id::text, count(*), count(DISTINCT m.author_id) FILTER (WHERE m.kind = 'person'), max(m.created_at)
                 FROM $messages GROUP BY 1 ORDER BY {order} DESC, 1 LIMIT 3");
            let expected: Vec<Value> = self
                .rows(&answer, &sql)
                .await
                .iter()
                .map(|row| {
                    json!([
                        row.get::<_, String>(0),
                        row.get::<_, i64>(1),
                        row.get::<_, i64>(2),
                        moment(row.get::<_, chrono::DateTime<chrono::Utc>>(3).timestamp_millis()),
                    ])
                })
                .collect();
            let said: Vec<Value> = answer["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| {
                    json!([
                        item["conversation"]["id"],
                        item["messages"],
                        item["participants"],
                        item["last_message_at"],
                    ])
                })
                .collect();
            assert_eq!(said, expected, "{sort} {answer}");
        }
    }

    async fn heatmap_and_usage(&self, range: &Range) {
        let answer = ask(&self.boss, "/api/analytics/heatmap", &range.parameters(&[])).await;
        let sql = "SELECT extract(isodow FROM $local)::int - 1, extract(hour FROM $local)::int, count(*) FROM $messages GROUP BY 1, 2";
        let mut expected = vec![vec![0; 24]; 7];
        for row in self.rows(&answer, sql).await {
            let (day, hour) = (row.get::<_, i32>(0), row.get::<_, i32>(1));
            expected[usize::try_from(day).unwrap()][usize::try_from(hour).unwrap()] = row.get::<_, i64>(2);
        }
        assert_eq!(answer["cells"], json!(expected));
        assert_eq!(answer["total"], expected.iter().flatten().sum::<i64>());
        let answer = ask(
            &self.boss,
            "/api/me/usage",
            &range.parameters(&[("granularity", "month")]),
        )
        .await;
        let sql = format!(
            "SELECT count(*), count(DISTINCT m.conversation_id) FROM $messages AND m.author_id = '{}'",
            self.boss.id
        );
        let row = &self.rows(&answer, &sql).await[0];
        assert_eq!(
            (&answer["messages"], &answer["conversations"]),
            (&json!(row.get::<_, i64>(0)), &json!(row.get::<_, i64>(1)))
        );
        let points = answer["points"].as_array().unwrap().iter();
        assert_eq!(
            points.map(|point| point["messages"].as_i64().unwrap()).sum::<i64>(),
            row.get::<_, i64>(0)
        );
    }

    async fn everything(&self, range: &Range) {
        self.summary(range).await;
        self.messages(range).await;
        self.active(range).await;
        self.tops(range).await;
        self.conversations(range).await;
        self.heatmap_and_usage(range).await;
    }
}

#[actix_web::test]
async fn every_answer_is_what_the_messages_say() {
    let app = TestApp::start().await;
    let ([boss, ben, eve], hall) = app.conversation_of(["Boss", "Ben", "Eve"]).await;
    let (stranger, elsewhere) = app.person_with_conversation("Stranger").await;
    let quay = boss.create_conversation("Quay").await;
    let empty = boss.create_conversation("Empty").await;
    let bot = make_agent(&app, &boss).await;
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let authors = [
        (boss.id.0, "person"),
        (ben.id.0, "person"),
        (eve.id.0, "person"),
        (bot, "agent"),
    ];
    let mut history = Vec::new();
    for _ in 0..1_500 {
        let (author, kind) = authors[random.random_range(0..authors.len())];
        // Crowds, so that people reply, and quarters hold more than one.
        let at = START_MS
            + random.random_range(0..60) * DAY_MS
            + random.random_range(0..8) * 10_800_000
            + random.random_range(0..3_600_000_i64);
        let conversation = if random.random_bool(0.7) { hall } else { quay };
        history.push(Past {
            conversation,
            author,
            kind,
            at,
        });
    }
    load_history(&app, &boss, &history).await;
    let others: Vec<Past> = history
        .iter()
        .map(|past| Past {
            conversation: elsewhere,
            author: stranger.id.0,
            ..*past
        })
        .collect();
    load_history(&app, &stranger, &others).await;
    ben.post_message(hall, MessageId::new(), "now").await.ok();
    boss.post_message(empty, MessageId::new(), "now too").await.ok();
    counted(&app).await;
    let world = World { app, boss };
    for _ in 0..6 {
        let range = random_range(&mut random);
        world.everything(&range).await;
    }
    let today = chrono::Utc::now().date_naive();
    let week = Range {
        from: (today - chrono::Days::new(6)).to_string(),
        to: (today + chrono::Days::new(1)).to_string(),
        tz: "Asia/Kathmandu",
    };
    world.everything(&week).await;
    world.app.stop().await;
}
