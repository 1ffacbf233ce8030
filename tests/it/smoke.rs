//! The shortest way through everything: if this fails, look here first.

use crate::support::TestApp;
use parlance::ids::MessageId;

#[actix_web::test]
async fn two_people_talk() {
    let app = TestApp::start().await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    assert_eq!(anns.subscribe(conversation, None).await.frames.len(), 0);
    bobs.subscribe(conversation, None).await;
    let ack = anns.post(conversation, MessageId::new(), "hello").await;
    assert_eq!((ack.seq, ack.duplicate), (1, false));
    for socket in [&mut anns, &mut bobs] {
        let message = socket.expect("message").await;
        assert_eq!(
            (&message["body"], message["rev"].as_i64()),
            (&"hello".into(), Some(ack.rev))
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn two_nodes_are_one_place() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let mut bobs = bob.at(&peer).connect().await;
    bobs.subscribe(conversation, None).await;
    ann.connect()
        .await
        .post(conversation, MessageId::new(), "over there")
        .await;
    assert_eq!(bobs.expect("message").await["body"], "over there");
    peer.stop().await;
    app.stop().await;
}
