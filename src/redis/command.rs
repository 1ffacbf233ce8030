//! What can be run in one call: a command, a pipeline, or a script with its arguments.
//!
//! A script is sent by its hash first, and once more with its text if Redis does not know it. Both
//! are within the deadline.

use redis::aio::ConnectionLike;
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, ScriptInvocation};
use std::future::Future;

/// Something that can be sent on a connection.
pub trait RedisCommand: Sync {
    /// Sends it and reads the reply.
    fn send<T: FromRedisValue + Send>(
        &self,
        link: &mut (impl ConnectionLike + Send),
    ) -> impl Future<Output = RedisResult<T>> + Send;
}

impl RedisCommand for Cmd {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        self.query_async(link).await
    }
}

impl RedisCommand for Pipeline {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        self.query_async(link).await
    }
}

impl RedisCommand for ScriptInvocation<'_> {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        self.invoke_async(link).await
    }
}

/// A command for a server that the key is just moving to.
pub(super) struct Asking<'a, C>(pub(super) &'a C);

impl<C: RedisCommand> RedisCommand for Asking<'_, C> {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        redis::cmd("ASKING").query_async::<()>(link).await?;
        self.0.send(link).await
    }
}
