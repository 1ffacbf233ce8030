//! The backup that operators make (`ops/backup`): taken while people write, restored into another database, proven, and
//! served from. And what must not pass for one: a damaged file, another database's manifest, a database that has tables.

use crate::program::parlance;
use crate::support::db::connect;
use crate::support::{ServerProcess, TempDir, environment};
use parlance::ids::MessageId;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the server runs its private PostgreSQL with has these programs beside it.
fn programs() -> PathBuf {
    let set = environment("POSTGRES_BIN_DIR").map(PathBuf::from);
    set.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".dev/postgres/bin"))
}

fn run(script: &str, url: &str, argument: &Path) -> Output {
    let path = format!("{}:{}", programs().display(), environment("PATH").unwrap());
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/backup").join(script))
        .arg(argument)
        .env("PATH", path)
        .env("DATABASE_URL", url)
        .env_remove("DATABASE_URL_FILE")
        .output()
        .unwrap()
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
}

/// Makes a database beside the server's; its address.
async fn database_beside(server: &ServerProcess, name: &str) -> String {
    let client = connect(&server.database_url()).await;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    server
        .database_url()
        .replace(":5432/parlance", &format!(":5432/{name}"))
}

/// Another secret than that of the nodes it was dumped from, so it has to be said that this is meant.
fn server_on_restored(url: &str) -> ServerProcess {
    let environment = [
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("DATABASE_URL", url),
    ];
    let refusal = ServerProcess::try_start(&environment).err().unwrap();
    assert!(refusal.contains("parlance secrets rotate"), "{refusal}");
    let rotated = parlance(&["secrets", "rotate", "--force"], &environment);
    assert!(rotated.status.success());
    ServerProcess::start(&environment)
}

#[tokio::test]
async fn a_backup_taken_while_people_write_is_whole() {
    let server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    for n in 0..50 {
        socket
            .post(conversation, MessageId::new(), &format!("before {n} – “ä”"))
            .await;
    }
    let directory = TempDir::new("backup");
    let (url, place) = (server.database_url(), directory.path().to_owned());
    let dump = tokio::task::spawn_blocking(move || run("dump.sh", &url, &place));
    let mut during = 0;
    while !dump.is_finished() {
        socket.post(conversation, MessageId::new(), "during").await;
        during += 1;
    }
    let dump = dump.await.unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let files = || {
        std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let file = files()
        .find(|path| path.extension().is_some_and(|end| end == "dump"))
        .unwrap();
    assert_eq!(files().count(), 2, "nothing unfinished is left");

    let url = database_beside(&server, "restored").await;
    let restored = run("restore.sh", &url, &file);
    let said = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(
        restored.status.success() && said.contains("tables agree"),
        "{said}{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    refused(&run("restore.sh", &url, &file), "tables already");

    // A node on it has all that was there at the moment of the dump, and nothing in between is missing.
    let second = server_on_restored(&url);
    let rows = connect(&url)
        .await
        .query("SELECT seq FROM messages ORDER BY seq", &[])
        .await
        .unwrap();
    let seqs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
    assert!(
        (50..=50 + during).contains(&seqs.len()),
        "{} of 50 and {during}",
        seqs.len()
    );
    second.register("Bob").await;
    second.terminate();

    let cut = directory.path().join("cut.dump");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 200]).unwrap();
    std::fs::copy(file.with_extension("manifest"), cut.with_extension("manifest")).unwrap();
    let other = database_beside(&server, "other").await;
    refused(&run("restore.sh", &other, &cut), "could not read");
    // The failure left it empty, so it takes the whole one; with what another manifest says, it is not what it should be.
    let manifest = std::fs::read_to_string(file.with_extension("manifest")).unwrap();
    let more = manifest.replace(
        &format!("messages|{}|", seqs.len()),
        &format!("messages|{}|", seqs.len() + 1),
    );
    assert_ne!(manifest, more);
    std::fs::write(file.with_extension("manifest"), more).unwrap();
    refused(&run("restore.sh", &other, &file), "is not what was dumped");
    server.terminate();
}
