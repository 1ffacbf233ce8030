//! Certificates of a test's own, and TLS in front of a PostgreSQL that speaks none.
//!
//! The PostgreSQL that `scripts/postgres.sh` fetches is built without TLS. So a front answers the request for it as a
//! server does, speaks TLS, and passes on what is in it. Redis speaks it by itself.

use super::TempDir;
use super::chaos::Proxy;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The names of this machine.
pub const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// What PostgreSQL's clients send when they want TLS: its length, and a number.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// PEM files of a certificate and its key.
#[derive(Clone)]
pub struct TestIdentity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Signs certificates.
pub struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
    issued: AtomicUsize,
}

impl TestAuthority {
    pub fn new() -> Self {
        let directory = TempDir::new("tls");
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Whoever looks for the issuer looks for its name.
        params.distinguished_name = named(&format!("authority {}", uuid::Uuid::now_v7()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            directory,
            issued: AtomicUsize::new(0),
        }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for these names.
    pub fn issue(&self, names: &[&str]) -> TestIdentity {
        self.sign(&params(names))
    }

    /// One that was good once.
    pub fn issue_expired(&self, names: &[&str]) -> TestIdentity {
        let mut params = params(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> TestIdentity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let n = self.issued.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| self.directory.path().join(format!("{n}-{kind}.pem"));
        let identity = TestIdentity {
            certificate: path("certificate"),
            key: path("key"),
        };
        std::fs::write(&identity.certificate, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(owned).unwrap();
    params.distinguished_name = named(names[0]);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// How a front behaves that was asked for TLS.
#[derive(Clone)]
enum Manner {
    Speaks(TlsAcceptor),
    /// Promises it, and breaks off.
    BreaksOff,
}

/// A PostgreSQL with TLS.
pub struct TlsFront {
    address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
    proxy: Proxy,
    task: tokio::task::JoinHandle<()>,
}

impl TlsFront {
    /// In front of a PostgreSQL, with a certificate. Clients need one of an authority, if one is named.
    pub async fn start(database_url: &str, identity: &TestIdentity, clients: Option<&TestAuthority>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(identity, clients)));
        Self::launch(database_url, Manner::Speaks(acceptor)).await
    }

    /// One that promises TLS and breaks off. Without TLS it serves.
    pub async fn start_broken(database_url: &str) -> Self {
        Self::launch(database_url, Manner::BreaksOff).await
    }

    async fn launch(database_url: &str, manner: Manner) -> Self {
        let proxy = Proxy::start(database_url).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, upstream) = (listener.local_addr().unwrap(), proxy.address());
        let handshakes = Arc::new(AtomicUsize::new(0));
        let counted = handshakes.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (manner, counted) = (manner.clone(), counted.clone());
                tokio::spawn(async move {
                    // Whoever goes away is not missed.
                    let _: std::io::Result<()> = serve(client, upstream, manner, &counted).await;
                });
            }
        });
        Self {
            address,
            handshakes,
            proxy,
            task,
        }
    }

    /// The database's address under a name of this machine.
    pub fn url(&self, host: &str, parameters: &str) -> String {
        let plain = self.proxy.url();
        let there = format!("{host}:{}", self.address.port());
        format!(
            "{}{parameters}",
            plain.replace(&self.proxy.address().to_string(), &there)
        )
    }

    /// How many connections have TLS.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    manner: Manner,
    handshakes: &AtomicUsize,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let mut first = [0; 8];
    client.read_exact(&mut first).await?;
    if first != SSL_REQUEST {
        // Only who breaks off lets people in without.
        if matches!(manner, Manner::BreaksOff) {
            server.write_all(&first).await?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
        return Ok(());
    }
    client.write_all(b"S").await?;
    if let Manner::Speaks(acceptor) = manner {
        let mut client = acceptor.accept(client).await?;
        handshakes.fetch_add(1, Ordering::Relaxed);
        copy_bidirectional(&mut client, &mut server).await?;
    }
    Ok(())
}

fn server_config(identity: &TestIdentity, clients: Option<&TestAuthority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&authority.file()) {
                roots.add(certificate).unwrap();
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    builder
        .with_single_cert(certificates(&identity.certificate), key)
        .unwrap()
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(path).unwrap();
    all.collect::<Result<_, _>>().unwrap()
}
