//! What a soak has found about the nginx in front, each by itself.

use super::daemon::Guardian;
use super::world::{free_address, nginx};
use crate::support::chaos::{Chaos, Proxy};
use crate::support::{Site, Socket, TempDir, TestApp, eventually};

/// nginx takes a node for ill after a failure, and for well after a request to it has ended well. Sockets do not end.
#[actix_web::test]
async fn when_all_nodes_were_away_sockets_come_back_at_once() {
    const SOCKETS: usize = 10;
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let (directory, guardian) = (TempDir::new("front"), Guardian::start());
    let links = [Proxy::to(app.address).await, Proxy::to(app.address).await];
    let nodes = links.each_ref().map(Proxy::address);
    let front = free_address();
    let mut nginx = nginx(directory.path(), front, &nodes, &guardian);
    nginx.start();
    let site = Site::new(front);
    eventually("nginx lets people through", async || {
        Socket::try_connect(&site, &ann.token).await.is_ok()
    })
    .await;
    links.iter().for_each(|link| link.set(Chaos::Cut));
    for _ in 0..4 {
        assert!(Socket::try_connect(&site, &ann.token).await.is_err());
    }
    links.iter().for_each(Proxy::heal);
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(ann.at(&site).connect().await);
    }
    drop(sockets);
    nginx.kill_9();
    app.stop().await;
}
