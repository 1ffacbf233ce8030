//! Searches: a page is bounded by bytes, and nothing is left out for it.

use crate::support::TestApp;
use parlance::ids::MessageId;
use serde_json::Value;

const MESSAGES: usize = 50;

#[actix_web::test]
async fn a_page_of_long_messages_ends_early_and_the_next_goes_on_there() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    let long = format!("needle {}", "straw ".repeat(2_700));
    for _ in 0..MESSAGES {
        socket.post(conversation, MessageId::new(), &long).await;
    }
    let (mut seqs, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = ann.get(&format!("/api/search?q=needle&limit=100{cursor}")).await.ok();
        let items = page["items"].as_array().unwrap();
        let bytes: usize = items.iter().map(|item| item.to_string().len()).sum();
        assert!(!items.is_empty() && bytes < 640 * 1_024, "{bytes} bytes");
        seqs.extend(items.iter().map(|item| item["message"]["seq"].as_u64().unwrap()));
        pages += 1;
        match &page["next"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    let expected: Vec<u64> = (1..=MESSAGES as u64).rev().collect();
    assert_eq!(seqs, expected, "each once, youngest first");
    assert_eq!(pages, 2);
    app.stop().await;
}
