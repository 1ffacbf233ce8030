//! The files of the page, from nginx's disk: as the nodes answer them, faster, and for ever.

use super::Front;
use super::answers::{comparable, security};
use crate::support::{Nginx, Site};
use parlance::http::Assets;
use reqwest::Method;
use std::fs;
use std::path::{Path, PathBuf};

/// All files below a directory, as paths from there.
fn all(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![home.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(home).unwrap().to_owned());
            }
        }
    }
    found
}

/// Writes the page's files where nginx looks for them; the path of the directory in a URL.
fn publish(nginx: &Nginx) -> (PathBuf, String) {
    let home = Assets::load().publish(&nginx.static_root()).unwrap();
    let hash = home.file_name().unwrap().to_string_lossy().into_owned();
    (home, format!("/static/{hash}"))
}

#[actix_web::test]
async fn every_file_is_the_same_from_the_disk() {
    let front = Front::start().await;
    let (home, base) = publish(&front.nginx);
    let mut seen = 0;
    for file in all(&home) {
        let name = file.to_string_lossy().into_owned();
        if name.ends_with(".gz") {
            continue;
        }
        seen += 1;
        let path = format!("{base}/{name}");
        let fetch = async |site: &Site, method: Method| {
            let request = site
                .http()
                .request(method, site.url(&path))
                .header("accept-encoding", "identity");
            let answer = request.send().await.unwrap();
            (
                answer.status().as_u16(),
                answer.headers().clone(),
                answer.bytes().await.unwrap(),
            )
        };
        let (direct_status, direct, direct_body) = fetch(&front.app, Method::GET).await;
        let (status, through, body) = fetch(&front.nginx, Method::GET).await;
        assert_eq!((direct_status, status), (200, 200), "{path}");
        assert_eq!(body, direct_body, "{path}");
        let mut expected = comparable(&direct);
        let mut found = comparable(&through);
        // A tag of its own: nothing asks with it that keeps the file for ever. And only nginx could answer parts.
        for name in ["etag", "accept-ranges"] {
            expected.remove(name);
            found.remove(name);
        }
        let vary = |headers: &mut std::collections::BTreeMap<String, Vec<String>>| {
            headers.remove("vary").map(|values| values.join(",").to_lowercase())
        };
        let (ours, theirs) = (vary(&mut found), vary(&mut expected));
        assert!(ours.is_some() || theirs.is_none(), "{path}: {ours:?} {theirs:?}");
        assert_eq!(found, expected, "{path}");
        assert_eq!(security(&through, &path), security(&direct, &path));
        assert_eq!(through["cache-control"], "public, max-age=31536000, immutable");
        let (_, head, none) = fetch(&front.nginx, Method::HEAD).await;
        assert_eq!(
            (head["content-length"].to_str().unwrap(), none.len()),
            (&*body.len().to_string(), 0)
        );
    }
    assert!(seen > 30, "{seen} files");
    let from_disk = |line: &serde_json::Value| line["path"] == format!("{base}/app.js");
    assert_eq!(front.nginx.logged("a file", from_disk).await["upstream"], "");
    front.stop().await;
}

#[actix_web::test]
async fn what_is_compressed_already_is_sent_as_it_is_and_the_rest_when_it_is_worth_it() {
    let front = Front::start().await;
    let (home, base) = publish(&front.nginx);
    let fetch = async |name: &str| {
        let request = front.nginx.http().get(front.nginx.url(&format!("{base}/{name}")));
        let answer = request.header("accept-encoding", "gzip, br").send().await.unwrap();
        let headers = answer.headers().clone();
        let encoding = headers
            .get("content-encoding")
            .map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
        assert!(
            headers["vary"]
                .to_str()
                .unwrap()
                .eq_ignore_ascii_case("accept-encoding"),
            "{name}"
        );
        (encoding, answer.bytes().await.unwrap())
    };
    let (encoding, body) = fetch("app.js").await;
    assert_eq!(encoding.as_deref(), Some("gzip"));
    assert_eq!(
        body,
        fs::read(home.join("app.js.gz")).unwrap(),
        "made once, not for each request"
    );
    // One that somebody put there without: compressed on the way.
    fs::remove_file(home.join("css/base.css.gz")).unwrap();
    let (encoding, body) = fetch("css/base.css").await;
    assert_eq!(encoding.as_deref(), Some("gzip"));
    assert!(body.len() < fs::read(home.join("css/base.css")).unwrap().len() / 2);
    front.stop().await;
}

/// The disk is a help, not a condition: what is not there, or not to be answered from there, the nodes answer.
#[actix_web::test]
async fn nodes_answer_what_the_disk_does_not_have() {
    let listed = "https://app.example.org";
    let front = Front::with(&[], |config| config.http.allowed_origins = vec![listed.to_owned()]).await;
    let (home, base) = publish(&front.nginx);
    fs::remove_file(home.join("app.js")).unwrap();
    let missing = front
        .nginx
        .request(Method::GET, &format!("{base}/app.js"), None, None)
        .await;
    assert_eq!(
        (missing.status, missing.header("cache-control")),
        (200, Some("public, max-age=31536000, immutable"))
    );
    for path in [
        format!("{base}/nothing.js"),
        "/static/0123/app.js".into(),
        format!("{base}/css"),
        format!("{base}/css/"),
        format!("{base}/../../../etc/passwd"),
    ] {
        front
            .nginx
            .request(Method::GET, &path, None, None)
            .await
            .problem(404, "not_found");
    }
    let posted = front
        .nginx
        .request(Method::POST, &format!("{base}/icon.svg"), None, None)
        .await;
    assert!(
        posted.header("allow").is_some_and(|methods| methods.contains("GET")),
        "{posted:?}"
    );
    posted.problem(405, "bad_request");
    // A page of another origin is told whether it may read.
    let request = front
        .nginx
        .http()
        .get(front.nginx.url(&format!("{base}/icon.svg")))
        .header("origin", listed);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], listed);
    // One of the site itself is named too, where it asks for a module; that comes from the disk.
    let own = front.nginx.http().get(front.nginx.url(&format!("{base}/icon.svg?own")));
    let own = own
        .header("origin", format!("http://{}", front.nginx.address))
        .header("x-request-id", "own");
    assert_eq!(own.send().await.unwrap().status(), 200);
    assert_eq!(
        front.nginx.logged("a module", |line| line["request_id"] == "own").await["upstream"],
        ""
    );
    // A browser that insists on asking again is told that nothing has changed.
    let tag = {
        let answer = front
            .nginx
            .request(Method::GET, &format!("{base}/icon.svg"), None, None)
            .await;
        answer.header("etag").unwrap().to_owned()
    };
    let again = front
        .nginx
        .http()
        .get(front.nginx.url(&format!("{base}/icon.svg")))
        .header("if-none-match", tag);
    let answer = again.send().await.unwrap();
    assert_eq!(answer.status(), 304);
    security(answer.headers(), "304");
    front.stop().await;
}
