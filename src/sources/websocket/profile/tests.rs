//! Tests of the built-in profiles and of a user's own.

use super::builtin::BUILTIN;
use super::catalog::GENERIC;
use super::*;
use crate::sources::websocket::request_builder::RequestBuilder;
use crate::sources::websocket::request_id::RequestId;
use crate::sources::websocket::request_purpose::RequestPurpose;
use crate::sources::websocket::subscribe_messages::SubscribeMessages;
use crate::sources::websocket::topic_case::check_topic_case;

#[test]
fn every_builtin_profile_renders_its_example_requests() {
    for LoadedProfile { name, profile, .. } in load_all(None).unwrap() {
        let profile = profile.unwrap();
        let topics = if name == GENERIC { vec!["t".to_owned()] } else { profile.examples.clone() };
        assert!(!topics.is_empty(), "{name} has no example");
        let subscribe = SubscribeMessages::Template(profile.subscribe.clone());
        let item = profile.item.clone();
        let builder = RequestBuilder::new(topics, &profile.topic, item, subscribe).unwrap();
        let builder = builder.with_unsubscribe(profile.unsubscribe.clone());
        let max_topics = profile.limits.topics_per_request;
        for purpose in [RequestPurpose::Subscribe, RequestPurpose::Unsubscribe] {
            let groups = builder.group_topics(builder.topics().indexes(), max_topics, purpose);
            assert!(!groups.is_empty(), "{name}: {purpose:?}");
            for group in groups {
                let request = builder.render_request(&group, RequestId::new(7), purpose);
                assert!(serde_json::from_str::<Value>(&request).is_ok());
                let is_open = ["{topic", "{id}"].iter().any(|open| request.contains(open));
                assert!(!is_open, "{name}: {request}");
                let unsubscribes = request.to_lowercase().contains("unsub");
                assert_eq!(unsubscribes, purpose == RequestPurpose::Unsubscribe, "{request}");
            }
        }
        if let Some(url) = &profile.url {
            assert!(url.starts_with("wss://"), "{name}");
        }
    }
}

#[test]
fn profiles_are_found_by_name_then_host_then_generic() {
    let name = |name, host| ProfileQuery { name, host, dir: None }.find().map(|found| found.name);
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
    let query = |name, host| ProfileQuery { name, host, dir: Some(dir.path()) };
    let found = |name, host| query(name, host).find().unwrap();
    assert_eq!(found(None, Some("mine.test")).name, "mine");
    assert_eq!(found(Some("okx"), None).profile.about, "my own");
    assert_eq!(found(None, Some("stream.bybit.com")).name, "bybit");
    for (text, words) in [
        (
            "{\n \"about\": \"x\",\n \"subscrbe\": 1}",
            "bad.json:3:2: subscrbe: unknown key `subscrbe`, did you mean `subscribe`?",
        ),
        ("{", "not valid JSON"),
        (
            r#"{"about": "x", "subscribe": "", "answers": [{"when": {"/a": 1}, "is": "ping"}]}"#,
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
        (
            "{\n \"about\": \"x\", \"subscribe\": \"{topic}\",\n \"answers\": [{\"is\": \"control\",\n \"when\": {\"/a\": {\"exists\": 1}}}]}",
            "bad.json:4:2: answers[0].when: `/a`: `exists` is `1`; expected true or false",
        ),
        (
            r#"{"about": "x", "subscribe": "{topic}", "answers": [{"when": {"/a": null}, "is": "control"}]}"#,
            "answers[0]: `/a` is compared with `null`; expected a text, a number, true, false or a list of these",
        ),
        (
            r#"{"about": "x", "subscribe": "{topic}", "welcome": 5}"#,
            "welcome: `5` is not a pattern of messages; expected the text of the message, or an object of JSON Pointers",
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
        let error = query(None, None).find().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(found(Some("mine"), None).name, "mine", "the invalid one is not meant");
    }
}

#[test]
fn no_builtin_profile_holds_what_looks_like_a_secret() {
    for LoadedProfile { name, profile, .. } in load_all(None).unwrap() {
        let profile = serde_json::to_value(profile.unwrap()).unwrap();
        let found = crate::base::literal_secrets::find_literal_secrets(&profile);
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}

fn builtin(name: &str) -> Profile {
    let (_, text) = BUILTIN.iter().find(|(own, _)| *own == name).unwrap();
    Profile::parse(Path::new(name), text).unwrap()
}

#[test]
fn the_case_of_topics_is_that_of_the_venue() {
    let check = |profile: &str, topic: &str| {
        let profile = builtin(profile);
        check_topic_case(&profile.topic_case, &[topic.to_owned()]).unwrap()
    };
    for (profile, wrong, right) in [
        ("binance", "BTCUSDT@trade", "btcusdt@trade"),
        ("binance", "BtcUsdt@depth@100ms", "btcusdt@depth@100ms"),
        ("binance-usdm", "BTCUSDT@aggTrade", "btcusdt@aggTrade"),
        ("htx", "market.BTCUSDT.trade.detail", "market.btcusdt.trade.detail"),
    ] {
        let warning = check(profile, wrong).expect(wrong);
        assert!(warning.contains(&format!("as `{right}`")), "{warning}");
        assert_eq!(check(profile, right), None, "{right}");
    }
    for (profile, topic) in [
        ("binance", "!miniTicker@arr"),
        ("binance-usdm", "!contractInfo"),
        ("binance-usdm", "btcusdt_perpetual@continuousKline_1m"),
        // Of other venues no document says that a case is confirmed and never sent.
        ("bybit", "publicTrade.btcusdt"),
        ("kucoin", "/market/ticker:all"),
        ("kraken", "trade:AAPLx/USD"),
        ("hyperliquid", "trades:kPEPE"),
        ("deribit", "deribit_price_index.btc_usd"),
        ("generic", "Any"),
    ] {
        assert_eq!(check(profile, topic), None, "{topic}");
    }
}

#[test]
fn every_builtin_example_has_the_right_case() {
    for (name, _) in BUILTIN {
        let profile = builtin(name);
        assert_eq!(check_topic_case(&profile.topic_case, &profile.examples), Ok(None), "{name}");
    }
}
