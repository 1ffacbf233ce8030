//! That the windows of the quotas slide: wherever one begins, there is no more in it than the quota. Seen from outside, by when
//! each message was sent and acknowledged, so that a busy machine changes nothing of it.

use crate::limits::with_quota;
use crate::support::app::TestApp;
use crate::support::{PATIENCE, pace};
use futures_util::future::join_all;
use parlance::ids::MessageId;
use std::cell::Cell;
use std::time::{Duration, Instant};

#[actix_web::test]
async fn fifty_connections_together_get_the_quota_and_no_more() {
    const QUOTA: usize = 40;
    const WINDOW: Duration = Duration::from_secs(2);
    let app = TestApp::with(|config| {
        with_quota(QUOTA + 1)(config);
        config.limits.minute = WINDOW;
        config.sessions.connections_per_user = 50;
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let sockets = join_all((0..50).map(|_| ann.connect())).await;
    let begun = Instant::now();
    // Longer than two windows; on a busy machine until two quotas have been used.
    let deadline = begun + Duration::from_millis(4_500);
    let count = &Cell::new(0);
    let goes_on = || Instant::now() < deadline || (count.get() < 2 * QUOTA && begun.elapsed() < PATIENCE);
    let hammering = sockets.into_iter().map(|mut socket| async move {
        let mut admitted = Vec::new();
        while goes_on() {
            let sent = Instant::now();
            match socket.try_post(conversation, MessageId::new(), "x").await {
                Ok(_) => {
                    count.set(count.get() + 1);
                    admitted.push((sent, Instant::now()));
                }
                // As rude as it can be without being cut: a refusal in 250 ms.
                Err(refused) => {
                    assert_eq!(refused["code"], "rate_limited", "{refused}");
                    pace(Duration::from_millis(250)).await;
                }
            }
        }
        admitted
    });
    let admitted: Vec<_> = join_all(hammering).await.into_iter().flatten().collect();
    let windows = begun.elapsed().as_millis().div_ceil(WINDOW.as_millis()) as usize;
    let rows = app.database.query("SELECT FROM messages", &[]).await;
    assert_eq!(rows.len(), admitted.len());
    // All that windows could give, and none of them gave more.
    let most = windows * (QUOTA + 1);
    assert!(
        (2 * QUOTA..=most).contains(&admitted.len()),
        "{} of {most}",
        admitted.len()
    );
    // What was both sent and acknowledged within a window was admitted within it.
    for (start, _) in &admitted {
        let within = |(sent, acked): &&(Instant, Instant)| sent >= start && *acked < *start + WINDOW;
        let within = admitted.iter().filter(within).count();
        assert!(within <= QUOTA + 1, "{within} within {WINDOW:?}");
    }
    app.stop().await;
}
