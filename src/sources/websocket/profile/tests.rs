//! What every built-in profile must be, and what one of a user's own can do.

use super::*;
use crate::sources::websocket::request_builder::{RequestBuilder, SubscribeMessages};

#[test]
fn every_builtin_profile_renders_its_example_requests() {
    for (name, profile) in load_all(None).unwrap() {
        let profile = profile.unwrap();
        let topics = if name == GENERIC { vec!["t".to_owned()] } else { profile.examples.clone() };
        assert!(!topics.is_empty(), "{name} has no example");
        let subscribe = SubscribeMessages::Template(profile.subscribe.clone());
        let item = profile.item.clone();
        let conversation = RequestBuilder::new(topics, &profile.topic, item, subscribe).unwrap();
        for places in conversation.group_topics(profile.limits.topics_per_request) {
            let request = conversation.render_request(&places, 7).unwrap();
            assert!(!request.contains('{') || serde_json::from_str::<Value>(&request).is_ok());
            assert!(!request.contains("{topic") && !request.contains("{id}"), "{name}: {request}");
        }
        if let Some(url) = &profile.url {
            assert!(url.starts_with("wss://"), "{name}");
        }
    }
}

#[test]
fn profiles_are_found_by_name_then_host_then_generic() {
    let name = |name, host| find_profile(name, host, None).map(|(name, _)| name);
    assert_eq!(name(Some("okx"), Some("stream.bybit.com")).unwrap(), "okx");
    assert_eq!(name(None, Some("stream.bybit.com")).unwrap(), "bybit");
    assert_eq!(name(None, Some("x.stream.bybit.com")).unwrap(), "bybit");
    assert_eq!(name(None, Some("evilstream.bybit.com")).unwrap(), GENERIC);
    assert_eq!(name(None, Some("127.0.0.1")).unwrap(), GENERIC);
    let error = name(Some("bibit"), None).unwrap_err().to_string();
    assert!(error.contains("there is no profile `bibit`, did you mean `bybit`?"), "{error}");
}

#[test]
fn user_profiles_override_builtins_and_errors_name_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("mine.json", r#"{"about": "x", "hosts": ["mine.test"], "subscribe": "{topic}"}"#);
    write("okx.json", r#"{"about": "my own", "subscribe": "{topic}"}"#);
    write("note.txt", "no profile");
    let found = |name, host| find_profile(name, host, Some(dir.path())).unwrap();
    assert_eq!(found(None, Some("mine.test")).0, "mine");
    assert_eq!(found(Some("okx"), None).1.about, "my own");
    assert_eq!(found(None, Some("stream.bybit.com")).0, "bybit");
    for (text, words) in [
        (
            "{\n \"about\": \"x\",\n \"subscrbe\": 1}",
            "bad.json:3:2: subscrbe: unknown key `subscrbe`, did you mean `subscribe`?",
        ),
        ("{", "not valid JSON"),
        (
            r#"{"about": "x", "subscribe": "", "answers": [{"when": {"/a": {}}, "is": "ping"}]}"#,
            "needs a `reply`",
        ),
        (
            r#"{"about": "x", "subscribe": "", "answers": [{"when": {"a": 1}, "is": "control"}]}"#,
            "answers[0]: `a` is not a JSON Pointer",
        ),
        (
            r#"{"about": "x", "subscribe": "{topic}", "topics_per_request": 1}"#,
            "topics_per_request: write it as `limits.topics_per_request`",
        ),
        (r#"{"about": "x", "subscribe": "s"}"#, "subscribe: has no place for topics"),
        (
            r#"{"about": "x", "subscribe": "{topics}", "topic": "{a}:{product}", "item": "{prodct}"}"#,
            "did you mean `product`?",
        ),
        (
            r#"{"about": "x", "subscribe": "{topic}", "url": "http://x"}"#,
            "url: begins with neither",
        ),
        (
            r#"{"about": "x", "subscribe": "{topic}", "welcome": {"type": 1}}"#,
            "welcome: `type` is not a JSON Pointer",
        ),
    ] {
        write("bad.json", text);
        let error = find_profile(None, None, Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(found(Some("mine"), None).0, "mine", "the fault of another is none of this");
    }
}
