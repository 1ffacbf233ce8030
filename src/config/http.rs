//! The settings of the HTTP server: its threads, its times, and which pages may use it.

use super::values::{check_host, check_origin, cores, pause};
use super::walk::SettingsWalk;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub allowed_origins: Vec<String>,
    /// Names without ports, in lower case; `*` is any.
    pub public_hosts: Vec<String>,
    pub workers: usize,
    pub request_timeout: Duration,
    pub keep_alive: Duration,
    pub request_deadline: Duration,
    pub secure_cookies: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            public_hosts: Vec::new(),
            workers: cores(),
            request_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(90),
            request_deadline: Duration::from_secs(30),
            secure_cookies: false,
        }
    }
}

impl HttpConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("HTTP", "");
        walk.value(
            "ALLOWED_ORIGINS",
            &mut self.allowed_origins,
            "Further origins whose pages may open sockets and read responses: `https://chat.example.org`.",
        );
        walk.unset("only pages of this host");
        walk.value(
            "PARLANCE_PUBLIC_HOSTS",
            &mut self.public_hosts,
            "The names by which people reach this site: `chat.example.org`. A request whose `Host` is another name is refused \
             with 421, but for health. `*` is any name, for a proxy in front that checks it.",
        );
        walk.unset("addresses and loopback names");
        walk.bounded(
            "PARLANCE_HTTP_WORKERS",
            &mut self.workers,
            1..=1_024,
            "Threads that serve connections.",
        );
        walk.unset("one a core");
        walk.bounded(
            "PARLANCE_REQUEST_TIMEOUT",
            &mut self.request_timeout,
            pause(),
            "How long a client may take to send the head of its request.",
        );
        walk.bounded(
            "PARLANCE_KEEP_ALIVE",
            &mut self.keep_alive,
            pause(),
            "How long an idle connection stays open. It must be longer than the proxy in front keeps its own.",
        );
        walk.bounded(
            "PARLANCE_REQUEST_DEADLINE",
            &mut self.request_deadline,
            pause(),
            "How long a request may take, from its head until its response begins.",
        );
        walk.value(
            "PARLANCE_SECURE_COOKIES",
            &mut self.secure_cookies,
            "Whether people come by TLS. If so, cookies are for TLS only, and browsers are told to stay with it (HSTS).",
        );
        walk.unset("`true` unless `BIND` is a loopback address");
    }

    pub(super) fn check(&self, errors: &mut Vec<String>) {
        for host in &self.public_hosts {
            if let Err(reason) = check_host(host) {
                errors.push(format!("PARLANCE_PUBLIC_HOSTS: {host:?} {reason}"));
            }
        }
        for origin in &self.allowed_origins {
            if let Err(reason) = check_origin(origin) {
                errors.push(format!("ALLOWED_ORIGINS: {origin:?} {reason}"));
            }
        }
    }
}
