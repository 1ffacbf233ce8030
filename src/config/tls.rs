//! What a connection to another server shows and demands in TLS. Pure: files are only named here,
//! and read by `src/tls`.

use std::path::PathBuf;

/// How TLS is spoken to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    pub check: TlsCheck,
    /// By which this node shows who it is.
    pub identity: Option<TlsIdentity>,
}

/// What is checked of the other side's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsCheck {
    Nothing,
    /// That one of these has signed it, and its dates.
    Authority(TlsRoots),
    /// Also that it is made out to the name that was asked for.
    AuthorityAndName(TlsRoots),
}

/// Which authorities are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsRoots {
    System,
    /// Those of a PEM file.
    File(PathBuf),
}

/// PEM files with a certificate, its intermediate ones behind it, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl TlsIdentity {
    /// `None` for neither of both.
    ///
    /// # Errors
    /// One is named without the other.
    pub(super) fn of(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<Self>, ()> {
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate, key })),
            _ => Err(()),
        }
    }
}
