//! Texts that are no configuration.

use proptest::prelude::*;

use super::*;

/// A configuration that is one, with most of its keys.
const WHOLE: &str = r#"{
  "buffer_size": 100, "overflow": "block", "log_file": "", "status_socket": "s",
  "source": { "type": "websocket", "url": "ws://h:1/p?q=1", "topics": ["a", "b"],
    "subscribe": [{ "op": "{topic}" }], "ping": { "message": "p", "interval": "1s" },
    "headers": { "A": "${HOME}" }, "idle_timeout": "1m", "tls": {} },
  "stages": [{ "type": "verbatim" }],
  "sinks": [{ "type": "jsonl", "output_dir": "o", "stem": "s", "file_mode": "0600" }],
  "archive": { "schedule": "0 5 * * * *", "compression": { "level": 3 },
    "retention": { "max_age": "90d", "keep_journals": "100d", "min_free_disk": "1GiB" } }
}"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("config.json"), text, &Registry::builtin())
}

#[test]
fn the_whole_one_is_one() {
    if let Err(error) = parse(WHOLE) {
        panic!("{error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_in_words(text in "\\PC{0,200}|[{}\\[\\]\":,a-z0-9$ \\n]{0,80}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().starts_with("config.json"));
        }
    }

    #[test]
    fn any_slip_of_the_pen_is_read_or_refused_in_words(
        at in 0..WHOLE.len(), length in 0..20_usize, with in "\\PC{0,8}",
    ) {
        let mut text = WHOLE.to_owned();
        text.replace_range(at..(at + length).min(WHOLE.len()), &with);
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().starts_with("config.json"));
        }
    }
}
