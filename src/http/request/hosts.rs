//! Which names a node answers to: `PARLANCE_PUBLIC_HOSTS`, or else addresses and loopback names.
//!
//! A page anywhere can make its own name point to a node that only its visitor reaches (DNS
//! rebinding). The browser then takes the node for that page's own site. It says so in `Host`, so a
//! name that is not ours is refused. An address written as a number is no name, and cannot be made
//! to point elsewhere.
//!
//! Health is answered to whoever asks: balancers and orchestrators call nodes as they like. Pure.

/// Whether a `Host` header names this node. `listed` are the operator's names, in lower case.
pub(crate) fn is_ours(host: &str, listed: &[String]) -> bool {
    let name = name_of(host);
    if name.is_empty() || listed.iter().any(|own| own == "*" || name.eq_ignore_ascii_case(own)) {
        return true;
    }
    let is_loopback_name = name.eq_ignore_ascii_case("localhost")
        || name
            .len()
            .checked_sub(".localhost".len())
            .and_then(|at| name.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(".localhost"));
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    is_loopback_name || address.is_ok_and(|address| listed.is_empty() || address.to_canonical().is_loopback())
}

/// The name in a `Host` header, without its port and the dot of a complete name.
fn name_of(host: &str) -> &str {
    let name = match host.rfind(']') {
        Some(end) => host.get(..=end).unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_list_addresses_and_loopback_names_are_ours() {
        for host in [
            "",
            "localhost",
            "LocalHost:8080",
            "app.localhost:1",
            "127.0.0.1:8080",
            "192.0.2.1",
            "[::1]:8080",
            "[2001:db8::1]",
        ] {
            assert!(is_ours(host, &[]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example:80",
        ] {
            assert!(!is_ours(host, &[]), "{host}");
        }
    }

    #[test]
    fn with_a_list_only_its_names_and_loopback_are() {
        let listed = ["chat.example.org".to_owned(), "192.0.2.1".to_owned()];
        for host in [
            "chat.example.org",
            "Chat.Example.Org.:443",
            "192.0.2.1:80",
            "localhost:8080",
            "127.0.0.1",
            "[::1]",
        ] {
            assert!(is_ours(host, &listed), "{host}");
        }
        for host in ["example.org", "x.chat.example.org", "192.0.2.2", "[2001:db8::1]"] {
            assert!(!is_ours(host, &listed), "{host}");
        }
        assert!(is_ours("anything.example", &["*".to_owned()]));
    }
}
