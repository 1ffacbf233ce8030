//! The settings and what becomes of them: nginx takes every combination, the renderer refuses what is none, and TLS is what
//! it says it is.

use super::Front;
use crate::support::nginx::{check, free_address, render};
use crate::support::{Nginx, TempDir, TestApp, eventually};
use std::path::Path;
use std::process::Command;

fn settings(directory: &Path, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let run = directory.join("run").to_string_lossy().into_owned();
    let (listen, status) = (free_address().to_string(), free_address().to_string());
    let usual = [
        ("NGINX_RUN_DIR", &*run),
        ("NGINX_STATUS_LISTEN", &*status),
        ("NGINX_LISTEN", &*listen),
    ];
    let all = usual.iter().chain(more);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A certificate that nobody trusts: paths of it and its key.
fn certificate(directory: &Path) -> (String, String) {
    let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl is needed to make a certificate");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

#[test]
fn nginx_takes_what_is_rendered() {
    let directory = TempDir::new("nginx-rendering");
    let (certificate, key) = certificate(directory.path());
    let (one, other) = (free_address(), free_address());
    let tls = [
        ("NGINX_TLS_LISTEN", &*one.to_string()),
        ("NGINX_TLS_CERTIFICATE", &*certificate),
        ("NGINX_TLS_KEY", &*key),
    ];
    let two = format!("{one} [::1]:{}", other.port());
    let many: String = (1..=50).map(|n| format!("10.0.0.{n}:8080 ")).collect();
    for more in [
        &[][..],
        &tls,
        &[("NGINX_NODES", &*many), ("NGINX_LISTEN", &*two)],
        &[
            ("NGINX_LIMITS", "off"),
            ("NGINX_REFUSE_AGENTS", "on"),
            ("NGINX_ACCESS_LOG", "off"),
        ],
        &[
            ("NGINX_TRUSTED_PROXIES", "10.0.0.0/8 2001:db8::/32"),
            ("NGINX_STATUS_LISTEN", ""),
            ("NGINX_USER", ""),
        ],
    ] {
        render(directory.path(), &settings(directory.path(), more)).unwrap();
        let (is_good, said) = check(directory.path());
        assert!(is_good, "{more:?}: {said}");
        // As root in an unprivileged account's configuration, nginx says that it has no use for one.
        assert!(!said.contains("[emerg]") && !said.contains("[crit]"), "{said}");
    }
}

/// The times that other tests shorten.
#[test]
fn slow_clients_have_twelve_seconds_unless_set_otherwise() {
    let directory = TempDir::new("nginx-rendering");
    render(directory.path(), &settings(directory.path(), &[])).unwrap();
    let text = std::fs::read_to_string(directory.path().join("conf/nginx.conf")).unwrap();
    for line in [
        "client_header_timeout 12s;",
        "client_body_timeout 12s;",
        "send_timeout 10s;",
    ] {
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn what_is_no_value_is_refused_and_nothing_written() {
    let directory = TempDir::new("nginx-rendering");
    for (name, value) in [
        ("NGINX_NODES", ""),
        ("NGINX_NODES", "10.0.0.1:80; include /etc/passwd"),
        ("NGINX_SERVER_NAME", "a { }"),
        ("NGINX_SERVER_NAME", "a\nb"),
        ("NGINX_ACCESS_LOG", "$HOME/log"),
        ("NGINX_LIMITS", "yes"),
        ("NGINX_TLS_LISTEN", "443"),
    ] {
        let error = render(directory.path(), &settings(directory.path(), &[(name, value)])).unwrap_err();
        assert!(error.contains(name), "{error}");
        assert!(!directory.path().join("conf").exists(), "{name}={value}");
    }
}

/// A file of settings goes before the defaults, the environment before both; a name that is none is a mistake.
#[test]
fn settings_come_from_a_file_too() {
    let directory = TempDir::new("nginx-rendering");
    let file = directory.path().join("settings");
    let run = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let rendered = Command::new("nginx/render")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg(directory.path().join("conf"))
            .arg(&file)
            .envs(settings(directory.path(), &[("NGINX_API_BURST", "7")]))
            .output()
            .unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.path().join("conf").join(name)).unwrap_or_default();
        (rendered.status.success(), read("api.conf") + &read("auth.conf"))
    };
    let (is_good, text) = run("# Ours.\nNGINX_API_BURST=8\nNGINX_AUTH_BURST=\"9\"\n");
    assert!(
        is_good && text.contains("burst=7 ") && text.contains("burst=9 "),
        "{text}"
    );
    assert!(!run("NGINX_AUTH_BRUST=9\n").0);
}

/// Curl, because no client of the tests speaks TLS. Waited for elsewhere: on this thread there are nodes.
async fn curl(arguments: &[&str]) -> String {
    let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
    actix_web::web::block(move || run_curl(&arguments)).await.unwrap()
}

fn run_curl(arguments: &[String]) -> String {
    let done = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--include",
            "--max-time",
            "15",
        ])
        .args(arguments)
        .output()
        .expect("curl is needed to speak TLS");
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

#[actix_web::test]
async fn tls_is_spoken_and_stayed_with() {
    let app = TestApp::with(|config| config.limits.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]).await;
    let directory = TempDir::new("nginx-tls");
    let (certificate, key) = certificate(directory.path());
    let address = free_address();
    let settings = [
        ("NGINX_TLS_LISTEN", &*address.to_string()),
        ("NGINX_TLS_CERTIFICATE", &*certificate),
        ("NGINX_TLS_KEY", &*key),
        ("NGINX_TLS_PUBLIC_PORT", &*address.port().to_string()),
        ("NGINX_ACME_ROOT", &*directory.path().to_string_lossy()),
    ];
    let nginx = Nginx::with(&[&app], &settings);
    let secure = |path: &str| format!("https://{address}{path}");
    // From the node, from nginx; each says once that browsers shall stay.
    for (path, status) in [("/", "200"), ("/metrics", "404")] {
        let answer = curl(&["--http1.1", &secure(path)]).await.to_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
        let told: Vec<_> = answer
            .lines()
            .filter(|line| line.starts_with("strict-transport-security:"))
            .collect();
        assert_eq!(
            told,
            ["strict-transport-security: max-age=31536000"],
            "{path}: {answer}"
        );
    }
    assert!(
        curl(&["--http2", &secure("/health/live")])
            .await
            .starts_with("HTTP/2 200")
    );
    for (version, status) in [("1.1", None), ("1.2", Some("200")), ("1.3", Some("200"))] {
        let answer = curl(&["--http1.1", "--tls-max", version, &secure("/health/live")]).await;
        match status {
            Some(status) => assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{version}: {answer}"),
            None => assert!(!answer.contains("HTTP/"), "{version}: {answer}"),
        }
    }
    // Without, there is only the way to it, and the proof for a certificate.
    let redirect = curl(&["--request", "POST", &nginx.url("/auth/login?a=b")]).await;
    assert!(redirect.starts_with("HTTP/1.1 308"), "{redirect}");
    assert!(
        redirect.contains(&format!("Location: {}", secure("/auth/login?a=b"))),
        "{redirect}"
    );
    std::fs::create_dir_all(directory.path().join(".well-known/acme-challenge")).unwrap();
    std::fs::write(directory.path().join(".well-known/acme-challenge/token"), "proof").unwrap();
    assert!(
        curl(&[&nginx.url("/.well-known/acme-challenge/token")])
            .await
            .ends_with("proof")
    );
    drop(nginx);
    app.stop().await;
}

/// What an operator puts beside the rendered files is in the server, and stays when they are rendered again.
#[actix_web::test]
async fn locations_of_the_operators_own_are_included() {
    let mut front = Front::start().await;
    let local = front.nginx.file("local");
    std::fs::create_dir(&local).unwrap();
    std::fs::write(
        local.join("robots.conf"),
        "location = /robots.txt { return 200 'Disallow: /'; }\n",
    )
    .unwrap();
    front.nginx.reload(&[]);
    eventually("the location is there", async || {
        // A connection that is kept may be the old worker's, and go while the request is on its way.
        let asked = front.nginx.try_request(reqwest::Method::GET, "/robots.txt", None, None);
        asked.await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    front.stop().await;
}
