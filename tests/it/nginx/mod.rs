//! The shipped nginx in front of two real nodes: what people meet who come through it.
//!
//! Nothing in it is made for tests: the files of `nginx/` are rendered with settings an operator has, and only where the
//! shipped value would make a test wait is it another.

mod answers;
mod files;
mod limits;
mod log;
mod nodes;
mod paths;
mod rendering;
mod sockets;

use crate::support::{Nginx, TestApp};
use parlance::config::Config;

/// Two nodes, and nginx in front of them.
pub struct Front {
    pub app: TestApp,
    pub peer: TestApp,
    pub nginx: Nginx,
}

impl Front {
    /// Without nginx's limits.
    pub async fn start() -> Self {
        Self::with(&[], |_| ()).await
    }

    /// With settings of nginx, and of the nodes, which trust it.
    pub async fn with(settings: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let trusting = |config: &mut Config| {
            config.limits.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
            change(config);
        };
        let app = TestApp::with(trusting).await;
        let peer = app.peer().await;
        let nginx = Nginx::with(&[&app, &peer], settings);
        Self { app, peer, nginx }
    }

    /// nginx first, as an operator would not: so that no connection of it keeps a node from stopping.
    pub async fn stop(self) {
        drop(self.nginx);
        self.peer.stop().await;
        self.app.stop().await;
    }
}
