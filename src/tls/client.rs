//! A client's configuration of rustls, from files and the system's authorities.

use super::verifiers::{NameUnchecked, Unchecked};
use crate::config::{TlsCheck, TlsConfig, TlsIdentity, TlsRoots};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS cannot be spoken as it is configured. For the operator; names files, and nothing of what
/// is in them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {}", path.display(), Reason(source))]
    File { path: PathBuf, source: pem::Error },
    #[error("{}: has a certificate that cannot be used: {source}", path.display())]
    Root { path: PathBuf, source: rustls::Error },
    #[error("the system has no authorities (package ca-certificates); name a file of them")]
    NoSystemRoots,
    #[error("the certificate {} and the key {} cannot be used: {source}", certificate.display(), key.display())]
    Identity {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    #[error("TLS cannot be set up: {0}")]
    Other(String),
}

/// What is wrong with a file of certificates, in words for operators.
struct Reason<'a>(&'a pem::Error);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            pem::Error::Io(error) => write!(f, "cannot be read: {error}"),
            pem::Error::NoItemsFound => write!(f, "nothing of the kind is in it; it has to be PEM (-----BEGIN …-----)"),
            // Others may quote a line, and this may be a key.
            _ => write!(f, "is not PEM (-----BEGIN …-----)"),
        }
    }
}

/// How a client speaks TLS.
///
/// # Errors
/// [`Error`]: a file, or what is in it, cannot be used.
pub fn client_config(config: &TlsConfig) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(config, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Other(error.to_string()))?
        // Which of the checks it is, is said by the settings.
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(TlsIdentity { certificate, key }) = &config.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|source| unusable(key, source))?;
    let with_identity = builder.with_client_auth_cert(certificates(certificate)?, private_key);
    with_identity.map_err(|source| Error::Identity {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })
}

fn verifier(config: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let roots = match &config.check {
        TlsCheck::Nothing => return Ok(Arc::new(Unchecked::new(provider))),
        TlsCheck::Authority(roots) | TlsCheck::AuthorityAndName(roots) => root_store(roots)?,
    };
    let full = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| Error::Other(error.to_string()))?;
    Ok(match config.check {
        TlsCheck::AuthorityAndName(_) => full,
        _ => Arc::new(NameUnchecked(full)),
    })
}

fn root_store(roots: &TlsRoots) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    match roots {
        TlsRoots::File(path) => {
            for certificate in certificates(path)? {
                let added = store.add(certificate);
                added.map_err(|source| Error::Root {
                    path: path.clone(),
                    source,
                })?;
            }
        }
        TlsRoots::System => {
            // Systems have a few that nobody can use.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(Error::NoSystemRoots);
            }
        }
    }
    Ok(store)
}

/// The certificates of a file, one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|source| unusable(path, source))?
        .collect();
    let all = all.map_err(|source| unusable(path, source))?;
    if all.is_empty() {
        return Err(unusable(path, pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn unusable(path: &Path, source: pem::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}
