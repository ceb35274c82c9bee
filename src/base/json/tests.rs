use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn find<'a>(json: &'a str, pointer: &str) -> Option<&'a str> {
    let found = Pointer::parse(pointer).unwrap().find(json.as_bytes());
    found.map(|found| std::str::from_utf8(found).unwrap())
}

#[test]
fn a_pointer_returns_the_raw_bytes_of_the_value() {
    let trade =
        r#" { "topic" : "t" , "n":[1, {"x":-1.50e3 }, []], "data":[{"s":"B\"T}C","m":{}},null] } "#;
    for (pointer, value) in [
        ("/topic", Some(r#""t""#)),
        ("/n", Some(r#"[1, {"x":-1.50e3 }, []]"#)),
        ("/n/1/x", Some("-1.50e3")),
        ("/n/2", Some("[]")),
        ("/n/2/0", None),
        ("/n/3", None),
        ("/n/01", None),
        ("/data/0/s", Some(r#""B\"T}C""#)),
        ("/data/0/m", Some("{}")),
        ("/data/1", Some("null")),
        ("/data/1/x", None),
        ("/topic/x", None),
        ("/nothing", None),
    ] {
        assert_eq!(find(trade, pointer), value, "{pointer}");
    }
}

#[test]
fn keys_are_compared_after_unescaping() {
    let text = "{\"to\\u0070ic\":1,\"a/b\":2,\"m~n\":3,\"\":4}";
    assert_eq!(find(text, "/topic"), Some("1"));
    assert_eq!(find(text, "/a~1b"), Some("2"));
    assert_eq!(find(text, "/m~0n"), Some("3"));
    assert_eq!(find(text, "/"), Some("4"));
    let text = r#"{"\\":1,"\\\\":2}"#;
    assert_eq!(find(text, r"/\"), Some("1"));
    assert_eq!(find(text, r"/\\"), Some("2"));
}

#[test]
fn the_first_of_duplicate_keys_counts() {
    assert_eq!(find(r#"{"a":1,"a":2}"#, "/a"), Some("1"));
}

#[test]
fn an_invalid_pointer_is_rejected() {
    for text in ["", "topic", "/a~", "/a~2"] {
        assert!(Pointer::parse(text).is_err(), "{text}");
    }
}

fn select(selector: Value, json: &str) -> Option<String> {
    let selector: Selector = serde_json::from_value(selector).unwrap();
    let mut buffer = String::new();
    selector.select(json.as_bytes(), &mut buffer).map(Cow::into_owned)
}

#[test]
fn a_selector_takes_a_pointer_a_template_or_the_first_complete_alternative() {
    let trade = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"n":5,"s":"x\ny","z":null}"#;
    assert_eq!(select(json!("/arg/channel"), trade).unwrap(), "trades");
    assert_eq!(select(json!("{/arg/channel}.{/arg/instId}!"), trade).unwrap(), "trades.BTC-USDT!");
    assert_eq!(select(json!(["/nothing", "n={/n}"]), trade).unwrap(), "n=5");
    assert_eq!(select(json!("/s"), trade).unwrap(), "x\ny");
    for nothing in ["/arg", "/z", "{/n}{/z}"] {
        assert_eq!(select(json!(nothing), trade), None, "{nothing}");
    }
    for wrong in [json!("topic"), json!("{/a"), json!("{a}"), json!([]), json!(5), json!("/a~")] {
        assert!(serde_json::from_value::<Selector>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_selector_serializes_as_it_was_written() {
    for text in [json!("/topic"), json!("{/a}.{/b}"), json!(["/a", "x{/b}y"])] {
        let selector: Selector = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&selector).unwrap(), text);
    }
}

/// Returns any JSON value, with some equal keys, and strings that look like structure.
fn any_json() -> impl Strategy<Value = Value> {
    let string = "[a-c{}\\[\\]\",:\\\\ \u{e9}\n]{0,6}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        string.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((string, inner), 0..5)
                .prop_map(|keys| Value::Object(keys.into_iter().collect())),
        ]
    })
}

/// Collects every pointer into the value, with the value to which it points.
fn pointers(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    if !path.is_empty() {
        found.push((path.to_owned(), value.clone()));
    }
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{path}/{index}"), found);
            }
        }
        Value::Object(keys) => {
            for (key, item) in keys {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(item, &format!("{path}/{key}"), found);
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn every_value_is_found_as_a_parser_finds_it(value in any_json(), pretty: bool) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        let mut all = Vec::new();
        pointers(&value, "", &mut all);
        for (pointer, expected) in all {
            let found = find(&text, &pointer).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(found).unwrap(), expected);
            prop_assert_eq!(find(&text, &format!("{pointer}/zzz")), None);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(
        prop_oneof![Just(b'"'), Just(b'{'), Just(b'['), Just(b']'), Just(b'}'), Just(b':'), Just(b','),
            Just(b'\\'), Just(b'a'), any::<u8>()], 0..40)) {
        for pointer in ["/a", "/0", "/a/1/a", "/"] {
            if let Some(found) = Pointer::parse(pointer).unwrap().find(&bytes) {
                scalar_text(found);
            }
        }
    }
}
