//! What can end a run: one enum, which `main` prints once. Faults of the server are counted and are
//! no errors.

/// A failure of the run itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused something.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] std::io::Error),
    /// A request was refused.
    #[error("{request} got {status}: {body}")]
    Http { request: String, status: u16, body: String },
    /// The server does not speak the protocol.
    #[error("{0}")]
    Protocol(String),
    /// Something did not happen in time.
    #[error("{0} did not happen within {1} s")]
    Timeout(String, u64),
    /// The arguments contradict each other or the machine.
    #[error("{0}")]
    Arguments(String),
}

/// For `map_err`: names what was being done.
pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::Io(doing, error)
}

/// The same for the errors of `rustix`.
pub(crate) fn errno(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |error| Error::Io(doing, error.into())
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
