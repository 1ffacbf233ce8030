//! Where a request comes from, when proxies stand in between.
//!
//! `X-Forwarded-For` is what someone wrote; only what a trusted proxy appended to it is true. So
//! it is believed only when the connection itself comes from one of `TRUSTED_PROXIES`. It is read
//! from the right, over those that are trusted, to the first that is not: that one is the client as
//! far as anybody honest has seen it. What stands to the left of it is its own invention. Reading
//! from the left is the usual mistake: then everybody picks their address.
//!
//! Pure. A text that is no address ends the walk at the hop that passed it on.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Most hops that are looked at; a longer chain is someone playing.
const HOPS_MAX: usize = 32;

/// The address of the client behind `request`.
#[must_use]
pub(crate) fn of(request: &HttpRequest, trusted: &[IpNet]) -> IpAddr {
    client_address(request.peer_addr().map(|peer| peer.ip()), request.headers(), trusted)
}

/// The address of a client whose connection comes from `peer`; unspecified without a peer, so
/// without a connection.
#[must_use]
fn client_address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.to_canonical());
    if !is_trusted(client, trusted) {
        return client;
    }
    // Several headers are one list, in order.
    let lines: Vec<_> = headers.get_all("x-forwarded-for").collect();
    let hops = lines
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = parse(hop.trim()) else { break };
        client = address;
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// Whether the client speaks TLS to the outermost of our proxies, as the one in front of us says.
/// We speak none.
#[must_use]
pub(crate) fn comes_by_tls(request: &HttpRequest, trusted: &[IpNet]) -> bool {
    says_tls(request.peer_addr().map(|peer| peer.ip()), request.headers(), trusted)
}

fn says_tls(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let said = headers
        .get_all("x-forwarded-proto")
        .last()
        .and_then(|value| value.to_str().ok());
    let scheme = said.and_then(|said| said.rsplit(',').next()).unwrap_or_default();
    peer.is_some_and(|peer| is_trusted(peer.to_canonical(), trusted)) && scheme.trim().eq_ignore_ascii_case("https")
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop
        .strip_prefix('[')
        .and_then(|hop| hop.strip_suffix(']'))
        .unwrap_or(hop);
    let address = bare
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn client(peer: &str, forwarded: &[&str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(
                HeaderName::from_static("x-forwarded-for"),
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        let trusted: Vec<IpNet> = trusted
            .split_whitespace()
            .map(|network| network.parse().unwrap())
            .collect();
        client_address(Some(peer.parse().unwrap()), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        const PROXIES: &str = "10.0.0.0/8 2001:db8::/32 127.0.0.1/32";
        let cases: [(&str, &[&str], &str, &str); 18] = [
            // Nobody is trusted, or the peer is not.
            ("127.0.0.1", &["1.1.1.1"], "", "127.0.0.1"),
            ("9.9.9.9", &["1.1.1.1"], PROXIES, "9.9.9.9"),
            ("::ffff:9.9.9.9", &["1.1.1.1"], PROXIES, "9.9.9.9"),
            // The last hop that is not trusted.
            ("10.0.0.1", &[], PROXIES, "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], PROXIES, "1.1.1.1"),
            ("::ffff:10.0.0.1", &["1.1.1.1"], PROXIES, "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], PROXIES, "1.1.1.1"),
            (
                "10.0.0.1",
                &["6.6.6.6, 1.1.1.1, 10.2.3.4 ,127.0.0.1"],
                PROXIES,
                "1.1.1.1",
            ),
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1", "10.2.3.4"], PROXIES, "1.1.1.1"),
            // A client that calls itself a proxy of ours gains nothing.
            ("10.0.0.1", &["6.6.6.6, 10.9.9.9, 1.1.1.1"], PROXIES, "1.1.1.1"),
            // All of them ours: the outermost.
            ("10.0.0.1", &["10.7.7.7, 10.2.2.2"], PROXIES, "10.7.7.7"),
            // What is no address ends at who passed it on.
            ("10.0.0.1", &["unknown"], PROXIES, "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, garbage, 10.2.2.2"], PROXIES, "10.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, ,10.2.2.2"], PROXIES, "10.2.2.2"),
            ("10.0.0.1", &["\u{e4}, 1.1.1.1"], PROXIES, "10.0.0.1"),
            // With ports and brackets.
            ("10.0.0.1", &["1.1.1.1:4711"], PROXIES, "1.1.1.1"),
            ("2001:db8::1", &["[2001:470::7]:443"], PROXIES, "2001:470::7"),
            ("2001:db8::1", &["[2001:470::7]"], PROXIES, "2001:470::7"),
        ];
        for (peer, forwarded, trusted, expected) in cases {
            assert_eq!(client(peer, forwarded, trusted), expected, "{peer} {forwarded:?}");
        }
        let chain = vec!["10.1.1.1"; 10_000].join(",");
        assert_eq!(client("10.0.0.1", &[&chain], PROXIES), "10.1.1.1");
        assert_eq!(
            client_address(None, &HeaderMap::new(), &[]),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        );
    }

    #[test]
    fn tls_is_what_a_trusted_proxy_says() {
        let says_tls = |peer: &str, said: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in said {
                headers.append(
                    HeaderName::from_static("x-forwarded-proto"),
                    HeaderValue::from_static(line),
                );
            }
            says_tls(Some(peer.parse().unwrap()), &headers, &["10.0.0.0/8".parse().unwrap()])
        };
        for said in [&["https"][..], &["HTTPS"], &["http, https"], &["http", "https"]] {
            assert!(says_tls("10.0.0.1", said), "{said:?}");
            assert!(!says_tls("9.9.9.9", said), "{said:?}");
        }
        for said in [&[][..], &["http"], &["https, http"], &["https", "http"], &["httpsx"]] {
            assert!(!says_tls("10.0.0.1", said), "{said:?}");
        }
    }
}
