//! What a value must be able to do to be cached, and what a loader returns for L1.

use super::kind::Kind;
use super::versions::Subject;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can be remembered in this process. It is cloned on every hit, so cloning must be cheap.
pub trait Cacheable: Clone + Send + Sync + 'static {
    const KIND: Kind;

    /// About how many bytes it holds in memory.
    fn weight(&self) -> usize;
}

/// What can be remembered in Redis too: a shape made for it, apart from the wire's.
pub trait Shareable: Cacheable + Serialize + DeserializeOwned {
    /// The version of the shape, from 1. It grows with every change of the type, or of a type in
    /// it.
    const VERSION: u8;
}

/// What a loader returns for this process alone.
#[derive(Debug)]
pub struct LoadedValue<T> {
    /// `None` when there is no such thing.
    pub value: Option<T>,
    /// What it depends on besides its key.
    pub depends_on: Vec<Subject>,
    /// False: it is given to those who wait for it, and not kept.
    pub keep: bool,
}
