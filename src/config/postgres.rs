//! The address of a PostgreSQL, and how TLS is spoken to it. Pure.
//!
//! The parameters of TLS are those of libpq, with its meaning: `sslmode`, `sslrootcert`, `sslcert`
//! and `sslkey`. The driver knows the modes without a check only, so they are taken out of the
//! address before it gets it. What libpq would ignore is refused: who names an authority does not
//! want it to be passed over.

use super::tls::{TlsCheck, TlsConfig, TlsIdentity, TlsRoots};
use percent_encoding::percent_decode_str;
use std::path::PathBuf;
use tokio_postgres::config::{Host, SslMode};

/// What is said of an address that is not one. Never what it was: there may be a password in it.
const FORM: &str = "not of the form postgres://user:password@host:5432/database";

/// Where a PostgreSQL is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct PostgresAddress {
    pub driver: tokio_postgres::Config,
    pub tls: PostgresTls,
}

/// Whether TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    Off,
    /// If the server offers it. Without a check of who it is.
    Preferred,
    Required(TlsConfig),
}

/// The parameters of TLS in an address.
#[derive(Default)]
struct TlsParameters {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    sslcert: Option<String>,
    sslkey: Option<String>,
}

impl PostgresAddress {
    /// Parses an address.
    ///
    /// # Errors
    /// What is wrong, in words that do not repeat the address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parameters = TlsParameters::default();
        let rest = parameters.take_from(text)?;
        let mut driver: tokio_postgres::Config = rest.parse().map_err(|_unshown| FORM)?;
        let tls = parameters.evaluate()?;
        driver.ssl_mode(match tls {
            PostgresTls::Off => SslMode::Disable,
            PostgresTls::Preferred => SslMode::Prefer,
            PostgresTls::Required(_) => SslMode::Require,
        });
        if let PostgresTls::Required(tls) = &tls {
            check_hosts(&driver, tls)?;
        }
        Ok(Self { driver, tls })
    }

    /// An address to which no TLS is spoken.
    #[must_use]
    pub fn plain(mut driver: tokio_postgres::Config) -> Self {
        driver.ssl_mode(SslMode::Disable);
        Self {
            driver,
            tls: PostgresTls::Off,
        }
    }
}

/// Whether TLS can be what it should be on the way to these hosts.
fn check_hosts(driver: &tokio_postgres::Config, tls: &TlsConfig) -> Result<(), &'static str> {
    let is_unix = |host: &Host| !matches!(host, Host::Tcp(_));
    if driver.get_hosts().iter().any(is_unix) {
        return Err("PostgreSQL speaks no TLS over a Unix socket; leave sslmode out, or name a host");
    }
    if driver.get_hosts().is_empty() && matches!(tls.check, TlsCheck::AuthorityAndName(_)) {
        return Err("sslmode=verify-full needs a host; hostaddr alone has no name that can be checked");
    }
    Ok(())
}

impl TlsParameters {
    /// Takes them out of an address, and returns the rest.
    fn take_from(&mut self, text: &str) -> Result<String, &'static str> {
        let Some((_, behind)) = text.split_once("://") else {
            return Ok(text.to_owned());
        };
        // A password may have a question mark.
        let hosts = behind.find('@').map_or(0, |at| at + 1) + (text.len() - behind.len());
        let Some(mark) = text[hosts..].find('?').map(|mark| mark + hosts) else {
            return Ok(text.to_owned());
        };
        let mut rest = Vec::new();
        for pair in text[mark + 1..].split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "sslmode" => &mut self.sslmode,
                "sslrootcert" => &mut self.sslrootcert,
                "sslcert" => &mut self.sslcert,
                "sslkey" => &mut self.sslkey,
                "sslnegotiation" => {
                    rest.push(pair);
                    continue;
                }
                _ if name.starts_with("ssl") => {
                    return Err("of TLS, only sslmode, sslrootcert, sslcert, sslkey and sslnegotiation are known");
                }
                _ => {
                    rest.push(pair);
                    continue;
                }
            };
            let value = percent_decode_str(value).decode_utf8().map_err(|_unshown| FORM)?;
            if place.replace(value.into_owned()).is_some() {
                return Err("a parameter of TLS stands there twice");
            }
        }
        let address = text[..mark].to_owned();
        Ok(if rest.is_empty() {
            address
        } else {
            format!("{address}?{}", rest.join("&"))
        })
    }

    fn evaluate(self) -> Result<PostgresTls, &'static str> {
        let path = |text: Option<String>| text.filter(|text| !text.is_empty()).map(PathBuf::from);
        let roots = match self.sslrootcert.as_deref() {
            None | Some("") => None,
            Some("system") => Some(TlsRoots::System),
            Some(file) => Some(TlsRoots::File(PathBuf::from(file))),
        };
        let identity = TlsIdentity::of(path(self.sslcert), path(self.sslkey))
            .map_err(|()| "sslcert and sslkey belong together; set both or neither")?;
        let mode = match (self.sslmode.as_deref(), &roots) {
            (None, Some(TlsRoots::System)) => "verify-full",
            (None, _) => "prefer",
            (Some(mode), _) => mode,
        };
        let needs_roots = "sslmode=verify-ca and verify-full need sslrootcert: a file of authorities, or system";
        let check = match (mode, roots) {
            ("disable" | "prefer", Some(_)) => {
                return Err("sslrootcert is for sslmode=verify-full or verify-ca; other modes would pass it over");
            }
            ("disable" | "prefer", None) if identity.is_some() => {
                return Err("sslcert and sslkey are for sslmode=require, verify-ca or verify-full");
            }
            ("disable", None) => return Ok(PostgresTls::Off),
            ("prefer", None) => return Ok(PostgresTls::Preferred),
            ("require" | "verify-ca", Some(TlsRoots::System)) => {
                // Anybody can have a certificate of one of them.
                return Err("sslrootcert=system needs sslmode=verify-full");
            }
            ("require", None) => TlsCheck::Nothing,
            // As libpq does.
            ("require" | "verify-ca", Some(roots)) => TlsCheck::Authority(roots),
            ("verify-full", Some(roots)) => TlsCheck::AuthorityAndName(roots),
            ("verify-ca" | "verify-full", None) => return Err(needs_roots),
            _ => return Err("sslmode is one of disable, prefer, require, verify-ca and verify-full"),
        };
        Ok(PostgresTls::Required(TlsConfig { check, identity }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(parameters: &str) -> Result<PostgresTls, &'static str> {
        PostgresAddress::parse(&format!("postgres://u:p?w@db:5432/x{parameters}")).map(|address| address.tls)
    }

    fn required(check: TlsCheck) -> Result<PostgresTls, &'static str> {
        Ok(PostgresTls::Required(TlsConfig { check, identity: None }))
    }

    #[test]
    fn modes_mean_what_libpq_means() {
        let file = || TlsRoots::File("/etc/ca file.pem".into());
        for (parameters, expected) in [
            ("", Ok(PostgresTls::Preferred)),
            ("?sslmode=disable", Ok(PostgresTls::Off)),
            ("?sslmode=prefer", Ok(PostgresTls::Preferred)),
            ("?sslmode=require", required(TlsCheck::Nothing)),
            (
                "?sslmode=require&sslrootcert=/etc/ca%20file.pem",
                required(TlsCheck::Authority(file())),
            ),
            (
                "?sslrootcert=%2Fetc%2Fca%20file.pem&sslmode=verify-ca",
                required(TlsCheck::Authority(file())),
            ),
            (
                "?sslmode=verify-full&sslrootcert=/etc/ca%20file.pem",
                required(TlsCheck::AuthorityAndName(file())),
            ),
            (
                "?sslrootcert=system",
                required(TlsCheck::AuthorityAndName(TlsRoots::System)),
            ),
        ] {
            assert_eq!(tls(parameters), expected, "{parameters}");
        }
        let with_identity = tls("?sslmode=require&sslcert=c.pem&sslkey=k.pem").unwrap();
        let PostgresTls::Required(TlsConfig { identity, .. }) = with_identity else {
            panic!("TLS is required")
        };
        assert_eq!(
            identity,
            Some(TlsIdentity {
                certificate: "c.pem".into(),
                key: "k.pem".into()
            })
        );
    }

    #[test]
    fn the_driver_gets_the_rest() {
        let text = "postgres://u:p?w@db/x?application_name=a&sslmode=verify-full&sslrootcert=system&options=-c%20a%3Db";
        let address = PostgresAddress::parse(text).unwrap();
        let driver = address.driver;
        assert_eq!(driver.get_password(), Some(&b"p?w"[..]));
        assert_eq!(driver.get_options(), Some("-c a=b"));
        assert_eq!(driver.get_ssl_mode(), SslMode::Require);
        let socket = PostgresAddress::parse("postgres://u@%2Frun%2Fpostgresql/x").unwrap();
        assert_eq!(socket.driver.get_hosts().len(), 1);
        assert!(PostgresAddress::parse("host=db user=u dbname=x").is_ok());
    }

    #[test]
    fn what_cannot_be_met_is_refused_in_words_that_help() {
        for (parameters, word) in [
            ("?sslmode=allow", "is one of"),
            ("?sslmode=secret", "is one of"),
            ("?sslmode=verify-ca", "sslrootcert"),
            ("?sslmode=verify-full", "sslrootcert"),
            ("?sslmode=disable&sslrootcert=secret", "verify-full"),
            ("?sslmode=prefer&sslrootcert=secret", "verify-full"),
            ("?sslrootcert=secret", "verify-full"),
            ("?sslmode=require&sslrootcert=system", "verify-full"),
            ("?sslmode=require&sslkey=secret", "both"),
            ("?sslmode=require&sslcert=secret", "both"),
            ("?sslcert=secret&sslkey=secret", "require"),
            ("?sslmode=require&sslmode=require", "twice"),
            ("?sslmode=require&sslcrl=secret", "sslnegotiation"),
            ("?sslpassword=secret", "sslnegotiation"),
            ("?nonsense=secret", "postgres://"),
        ] {
            let problem = tls(parameters).unwrap_err();
            assert!(
                problem.contains(word) && !problem.contains("secret"),
                "{parameters}: {problem}"
            );
        }
        let unix = "postgres://u@%2Frun/x?sslmode=verify-full&sslrootcert=system";
        assert!(PostgresAddress::parse(unix).unwrap_err().contains("Unix socket"));
        let no_name = "postgres:///x?hostaddr=10.0.0.1&sslrootcert=system";
        assert!(PostgresAddress::parse(no_name).unwrap_err().contains("needs a host"));
        assert_eq!(PostgresAddress::parse("nonsense").unwrap_err(), FORM);
    }
}
