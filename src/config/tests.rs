//! Arbitrary texts as configurations.

use proptest::prelude::*;

use super::*;

/// A valid configuration with most keys.
const FULL_CONFIG: &str = r#"{
  "buffer_size": 100, "overflow": "block", "log_file": "", "status_socket": "s",
  "source": { "type": "websocket", "url": "ws://h:1/p?q=1", "topics": ["a", "b"],
    "subscribe": [{ "op": "{topic}" }], "ping": { "message": "p", "interval": "1s" },
    "headers": { "A": "${HOME}" }, "idle_timeout": "1m", "tls": {} },
  "stages": [{ "type": "verbatim" }],
  "sinks": [{ "type": "jsonl", "output_dir": "o", "stem": "s", "file_mode": "0600" }],
  "archive": { "schedule": "0 5 * * * *", "compression": { "level": 3 },
    "retention": { "max_age": "90d", "keep_journals": "100d", "min_free_disk": "1GiB" } }
}"#;

fn parse_text(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("config.json"), text, &Registry::builtin())
}

#[test]
fn the_full_config_parses() {
    if let Err(error) = parse_text(FULL_CONFIG) {
        panic!("{error}");
    }
}

proptest! {
    #[test]
    fn any_text_parses_or_yields_a_config_error(text in "\\PC{0,200}|[{}\\[\\]\":,a-z0-9$ \\n]{0,80}") {
        if let Err(error) = parse_text(&text) {
            prop_assert!(error.to_string().starts_with("config.json"));
        }
    }

    #[test]
    fn any_edit_of_a_valid_config_parses_or_yields_a_config_error(
        at in 0..FULL_CONFIG.len(), length in 0..20_usize, with in "\\PC{0,8}",
    ) {
        let mut text = FULL_CONFIG.to_owned();
        text.replace_range(at..(at + length).min(FULL_CONFIG.len()), &with);
        if let Err(error) = parse_text(&text) {
            prop_assert!(error.to_string().starts_with("config.json"));
        }
    }
}
