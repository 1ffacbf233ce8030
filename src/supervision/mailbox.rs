//! A bounded queue that outlives its reader.
//!
//! Used by every actor that must not lose what is queued when it crashes: each generation reads on
//! where the one before ended. Bound: the capacity. What "full" means is decided by the sender.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

/// A bounded queue that outlives its reader.
#[derive(Debug)]
pub struct Mailbox<T> {
    sender: mpsc::Sender<T>,
    receiver: Arc<Mutex<mpsc::Receiver<T>>>,
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `capacity` messages.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let (sender, receiver) = mpsc::channel(capacity);
        Self {
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
        }
    }

    /// How many messages wait, or are on their way.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    #[must_use]
    pub const fn sender(&self) -> &mpsc::Sender<T> {
        &self.sender
    }

    /// The reader. Waits until the one before is gone.
    pub async fn reader(&self) -> MailboxReader<T> {
        MailboxReader {
            receiver: self.receiver.clone().lock_owned().await,
        }
    }

    /// The reader, if there is none yet.
    #[must_use]
    pub fn try_reader(&self) -> Option<MailboxReader<T>> {
        self.receiver
            .clone()
            .try_lock_owned()
            .ok()
            .map(|receiver| MailboxReader { receiver })
    }
}

/// The one reader of a mailbox, as a stream.
#[derive(Debug)]
pub struct MailboxReader<T> {
    receiver: OwnedMutexGuard<mpsc::Receiver<T>>,
}

impl<T> MailboxReader<T> {
    /// Refuses further messages. Those that wait can still be read.
    pub fn close(&mut self) {
        self.receiver.close();
    }

    /// The next message, if one waits.
    pub fn try_next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.receiver.poll_recv(cx)
    }
}

impl<T> futures_util::Stream for MailboxReader<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().receiver.poll_recv(cx)
    }
}
