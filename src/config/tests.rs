//! What a map of variables means, by table.

use super::values::Setting;
use super::walk::SettingsWalk;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_vars(
        &pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

#[track_caller]
fn check_error(pairs: &[(&str, &str)], expected: &[&str]) {
    let errors = read(pairs).expect_err("this configuration must be refused").0;
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(expected), "{error:?} does not speak of {expected:?}");
    }
}

#[test]
fn nothing_set_gives_the_defaults() {
    let config = read(&[]).unwrap();
    assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
    assert_eq!((config.database.pool_size, config.database.max_overflow), (20, 10));
    assert_eq!(config.auth.access_token_ttl, Duration::from_secs(900));
    assert!(!config.http.secure_cookies);
    assert!(config.database.url.is_none());
}

#[test]
fn each_setting_is_read_from_its_name() {
    let config = read(&[
        ("BIND", "0.0.0.0:80"),
        ("DATA_DIR", "/var/lib/parlance"),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "parlance=debug"),
        ("DATABASE_URL", "postgres://u:p@db/chat"),
        ("DATABASE_POOL_SIZE", "5"),
        ("DATABASE_MAX_OVERFLOW", "0"),
        ("POSTGRES_BIN_DIR", "/opt/pg/bin"),
        ("ALLOWED_ORIGINS", "https://a.example, http://localhost:3000,"),
        ("ACCESS_TOKEN_TTL", "5m"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("PARLANCE_DATABASE_STATEMENT_TIMEOUT", "250ms"),
        ("PARLANCE_PASSIVATE_AFTER", ""),
        ("SOMETHING_ELSE", "ignored"),
    ])
    .unwrap();
    assert_eq!(config.bind.to_string(), "0.0.0.0:80");
    assert!(config.http.secure_cookies, "beyond loopback cookies are for TLS");
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(
        config.database.url.as_ref().map(Secret::expose),
        Some("postgres://u:p@db/chat")
    );
    assert_eq!(
        config.http.allowed_origins,
        ["https://a.example", "http://localhost:3000"]
    );
    assert_eq!(config.auth.access_token_ttl, Duration::from_secs(300));
    assert_eq!(config.database.statement_timeout, Duration::from_millis(250));
    assert_eq!(
        config.conversations.passivate_after,
        Duration::from_secs(300),
        "empty is not set"
    );
}

#[test]
fn mistakes_are_refused_by_name() {
    check_error(&[("BIND", "8080")], &["BIND: must be an address"]);
    check_error(
        &[("DATABASE_POOL_SIZE", "0")],
        &["DATABASE_POOL_SIZE: must be from 1 to 1000"],
    );
    check_error(&[("DATABASE_POOL_SIZE", "-1")], &["whole number"]);
    check_error(&[("ACCESS_TOKEN_TTL", "15 minutes")], &["units"]);
    check_error(&[("ACCESS_TOKEN_TTL", "99999999999999999999d")], &["units"]);
    check_error(&[("LOG_FORMAT", "xml")], &["pretty or json"]);
    check_error(&[("PARLANCE_SECURE_COOKIES", "maybe")], &["true or false"]);
    check_error(&[("JWT_SECRET", "short")], &["at least 32 bytes"]);
    check_error(&[("DATABASE_URL", "mysql://x")], &["DATABASE_URL"]);
    check_error(&[("REDIS_URL", "http://x")], &["REDIS_URL"]);
    check_error(&[("METRICS_BIND", "9464")], &["METRICS_BIND"]);
    check_error(&[("METRICS_BIND", "127.0.0.1:8080")], &["another address than BIND"]);
    check_error(
        &[("REDIS_URL", "redis://x"), ("REDIS_TLS_CA", "ca.pem")],
        &["rediss://"],
    );
    check_error(
        &[("REDIS_URL", "rediss://x"), ("REDIS_TLS_KEY", "key.pem")],
        &["REDIS_TLS_CERT"],
    );
    check_error(&[("DATABASE_URL", "postgres://x/y?sslmode=on")], &["sslmode"]);
    check_error(&[("DATABASE_REPLICA_URL", "postgres://x/y?sslmode=on")], &["sslmode"]);
    check_error(
        &[("PARLANCE_REDIS_TIMEOUT", "51ms")],
        &["PARLANCE_REDIS_TIMEOUT: must be from 5ms to 50ms"],
    );
    check_error(
        &[("PARLANCE_HEARTBEAT", "40")],
        &["PARLANCE_HEARTBEAT_TIMEOUT: must be longer"],
    );
    check_error(
        &[("PARLANCE_BIND", "127.0.0.1:1")],
        &["PARLANCE_BIND: there is no such setting"],
    );
    for origin in [
        "example.org",
        "https://",
        "https://a/b",
        "https://A.example",
        "https://*.example",
    ] {
        check_error(&[("ALLOWED_ORIGINS", origin)], &["ALLOWED_ORIGINS"]);
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    check_error(
        &[
            ("BIND", "x"),
            ("LOG_FORMAT", "x"),
            ("PARLANCE_TYPO", "x"),
            ("DATABASE_MAX_OVERFLOW", "x"),
        ],
        &["BIND", "LOG_FORMAT", "DATABASE_MAX_OVERFLOW", "PARLANCE_TYPO"],
    );
}

#[test]
fn secrets_never_print() {
    let secret = "postgres://u:hunter2@db/chat";
    let config = read(&[
        ("DATABASE_URL", secret),
        ("REDIS_URL", "redis://:hunter2@cache:6379/1"),
        ("JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2"),
    ])
    .unwrap();
    let printed = format!("{config} {config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("DATABASE_URL=***"));
    let error = read(&[("DATABASE_URL", "postgres://u:hunter2@db:port/chat")])
        .unwrap_err()
        .to_string();
    assert!(!error.contains("hunter2"), "{error}");
    let error = read(&[("REDIS_URL", "redis://u:hunter2@cache:port/1")])
        .unwrap_err()
        .to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let config = read(&[("PARLANCE_STALL_TIMEOUT", "1500ms"), ("BIND", "[::1]:0")]).unwrap();
    let vars = config
        .to_string()
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(n, v)| (n.into(), v.into()))
        .collect();
    assert_eq!(Config::from_vars(&vars).unwrap().to_string(), config.to_string());
}

#[test]
fn every_setting_has_a_name_of_its_own_and_a_meaning() {
    let mut walk = SettingsWalk::looking();
    Config::default().walk(&mut walk);
    let names: BTreeSet<_> = walk.entries.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), walk.entries.len());
    for entry in &walk.entries {
        let meaning = entry.meaning;
        assert!(
            meaning.ends_with('.') && !meaning.contains(['|', '\n']),
            "{}: {meaning}",
            entry.name
        );
        assert!(walk.sections.iter().any(|section| section.title == entry.section));
        assert!(!entry.is_secret || entry.value.is_empty(), "no secret has a default");
    }
}

#[test]
fn times_are_shown_to_people_with_their_longest_whole_unit() {
    for (text, shown) in [
        ("1500ms", "1500ms"),
        ("0", "0s"),
        ("59", "59s"),
        ("90", "90s"),
        ("120", "2m"),
        ("3600", "1h"),
        ("30d", "30d"),
    ] {
        assert_eq!(Duration::parse(text).unwrap().readable(), shown);
        assert_eq!(Duration::parse(shown), Duration::parse(text));
    }
}

#[test]
fn quotas_and_trusted_proxies_are_read() {
    let config = read(&[
        ("RATE_LIMIT_ENABLED", "false"),
        ("RATE_LIMIT_REGULAR_PER_MINUTE", "7"),
        ("TRUSTED_PROXIES", "10.1.2.3/8, ::1,192.0.2.7"),
    ])
    .unwrap();
    assert!(!config.limits.enabled && read(&[]).unwrap().limits.enabled);
    assert_eq!(
        (config.limits.regular.per_minute, config.limits.regular.per_hour),
        (7, 1_000)
    );
    let shown: Vec<_> = config.limits.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "::1/128", "192.0.2.7/32"]);
    check_error(
        &[("TRUSTED_PROXIES", "proxy.example")],
        &["TRUSTED_PROXIES: must be addresses"],
    );
    check_error(&[("RATE_LIMIT_PREMIUM_PER_HOUR", "0")], &["must be from 1 to 100000"]);
}

/// A file in the system's directory for such, gone at the end.
struct TempFile(std::path::PathBuf);

impl TempFile {
    fn with(content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("parlance-secret-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn resolved(pairs: &[(&str, &str)]) -> (BTreeMap<String, String>, Vec<String>) {
    let mut vars = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let mut errors = Vec::new();
    files::resolve(&mut vars, &Config::secrets(), &mut errors);
    (vars, errors)
}

#[test]
fn every_secret_may_come_from_a_file() {
    let secrets = Config::secrets();
    for known in ["DATABASE_URL", "REDIS_URL", "JWT_SECRET"] {
        assert!(secrets.contains(&known), "{known}");
    }
    for name in secrets {
        let file = TempFile::with(b"a value = with # everything\n");
        let (vars, errors) = resolved(&[(&format!("{name}_FILE"), &file.path()), (name, " ")]);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(vars[name], "a value = with # everything");
        assert!(!vars.contains_key(&format!("{name}_FILE")), "it is no setting any more");
    }
    // Others are not secrets, and have no such form.
    let (vars, errors) = resolved(&[("PARLANCE_HEARTBEAT_FILE", "/x")]);
    assert!(errors.is_empty() && Config::from_vars(&vars).is_err());
}

#[test]
fn a_secret_file_that_is_no_use_is_refused_by_name_and_not_repeated() {
    let file = TempFile::with(b"hunter2\xff");
    let (empty, long) = (TempFile::with(b"\n"), TempFile::with(&[b'x'; 65 * 1_024]));
    let missing = format!("{}-gone", empty.path());
    for (path, reason) in [
        (file.path(), "not text"),
        (empty.path(), "is empty"),
        (long.path(), "more than"),
        (missing, "cannot be read"),
        ("/".to_owned(), "cannot be read"),
    ] {
        let (_, errors) = resolved(&[("JWT_SECRET_FILE", &path)]);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with("JWT_SECRET_FILE: ") && errors[0].contains(reason),
            "{errors:?}"
        );
        assert!(!errors[0].contains("hunter2") && errors[0].len() < 300, "{errors:?}");
    }
    let (_, errors) = resolved(&[("JWT_SECRET_FILE", &file.path()), ("JWT_SECRET", "hunter2")]);
    assert_eq!(errors, ["JWT_SECRET_FILE: JWT_SECRET is set too; use one of them"]);
    assert!(resolved(&[("JWT_SECRET_FILE", "  ")]).1.is_empty(), "empty is not set");
}

#[test]
fn the_environment_wins_over_the_env_file_in_either_form() {
    let vars = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    for front in ["REDIS_URL", "REDIS_URL_FILE"] {
        for behind in ["REDIS_URL", "REDIS_URL_FILE"] {
            let mut left = vars(behind, "old");
            files::give_way(&mut left, &vars(front, "new"), &Config::secrets());
            assert!(left.is_empty(), "{front} over {behind}");
            let mut left = vars(behind, "old");
            files::give_way(&mut left, &vars(front, ""), &Config::secrets());
            assert_eq!(left.len(), 1, "what is empty wins over nothing");
        }
    }
}
