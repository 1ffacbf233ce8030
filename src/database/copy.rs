//! Rows into a table by COPY in its binary form: the fastest way for thousands of them.
//!
//! Used by what loads in bulk. One [`CopyRows`] is one statement, named and timed like any other;
//! it must end within the time of a statement, so its rows are counted by who writes them. Dropped
//! without [`CopyRows::finish`], nothing of it is there, and the transaction is lost.

use super::client::{Params, Statement, Transaction};
use super::error::Error;
use std::pin::Pin;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

/// A COPY under way.
pub struct CopyRows<'a> {
    transaction: &'a Transaction<'a>,
    statement: Statement,
    writer: Pin<Box<BinaryCopyInWriter>>,
}

impl<'a> CopyRows<'a> {
    /// Begins: `statement` is `COPY … FROM STDIN BINARY`, `types` those of its columns.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn begin(
        transaction: &'a Transaction<'a>,
        statement: &Statement,
        types: &[Type],
    ) -> Result<CopyRows<'a>, Error> {
        let sink = transaction.copy_in(statement).await?;
        Ok(Self {
            transaction,
            statement: *statement,
            writer: Box::pin(BinaryCopyInWriter::new(sink, types)),
        })
    }

    /// Adds a row. Waits only where the server does not keep up.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn write(&mut self, row: Params<'_>) -> Result<(), Error> {
        let write = self.writer.as_mut().write(row);
        self.transaction.wait_untimed(&self.statement, write).await
    }

    /// Ends it; returns how many rows there are now.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn finish(mut self) -> Result<u64, Error> {
        let finish = self.writer.as_mut().finish();
        self.transaction.wait_for(&self.statement, finish).await
    }
}
