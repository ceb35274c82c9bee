//! Finding the secrets that a configuration holds literally, by the names of their keys.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Minimum length of a value that is masked although its name does not tell that it is secret.
const MIN_UNNAMED: usize = 8;
/// Minimum length of a segment of a path that may be a key.
const MIN_PATH_KEY: usize = 20;
/// Names, in lower case and without punctuation, that secrets contain.
const SECRET_PARTS: [&str; 15] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "cookie",
    "signature",
    "credential",
    "authorization",
    "apikey",
    "accesskey",
    "privatekey",
    "listenkey",
    "session",
    "bearer",
    "jwt",
];
/// Ends of names of secrets, which may be the whole name.
const SECRET_ENDS: [&str; 8] = ["key", "sign", "sig", "auth", "pwd", "pass", "hmac", "otp"];
/// Headers and parameters of a query whose values are no secrets.
const PLAIN_NAMES: [&str; 40] = [
    "useragent",
    "origin",
    "host",
    "accept",
    "acceptlanguage",
    "acceptencoding",
    "cachecontrol",
    "pragma",
    "contenttype",
    "referer",
    "stream",
    "streams",
    "symbol",
    "symbols",
    "channel",
    "channels",
    "topic",
    "topics",
    "feed",
    "feeds",
    "encoding",
    "format",
    "compress",
    "compression",
    "version",
    "interval",
    "depth",
    "limit",
    "type",
    "lang",
    "locale",
    "transport",
    "timeunit",
    "protocol",
    "market",
    "markets",
    "pair",
    "pairs",
    "client",
    "wantedcollections",
];
/// Values by which a message says that it identifies its sender: all texts in it may be secret.
const LOGIN_WORDS: [&str; 5] = ["auth", "login", "authenticate", "logon", "signin"];

/// A secret that a configuration holds literally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiteralSecret {
    /// Path of the key, such as `source.headers.Authorization`.
    pub(crate) path: String,
    /// The texts that must not be shown.
    pub(crate) values: Vec<String>,
    /// Set if the name of the key, or the look of the value, tells that it is secret.
    pub(crate) is_named: bool,
}

/// The kind of values at a place of the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Keys of the configuration itself.
    Keys,
    /// Headers of a request.
    Headers,
    /// A message, or the environment of a program.
    Message,
    /// A message that identifies its sender.
    Login,
}

/// Returns the secrets that a value of a configuration or of a profile holds: headers, parameters of
/// URLs, passwords of proxies, and keys in messages.
pub(crate) fn find_literal_secrets(value: &Value) -> Vec<LiteralSecret> {
    let mut found = Vec::new();
    find_in_value(value, "", Place::Keys, &mut found);
    found
}

/// Returns the texts of a URL that must not be shown: the password, the values of the query, and
/// segments of the path that look like keys.
pub(crate) fn secrets_of_url(url: &str) -> Vec<String> {
    let mut found = Vec::new();
    find_in_url(url, "", &mut found);
    found.into_iter().flat_map(|secret| secret.values).collect()
}

fn find_in_value(value: &Value, path: &str, place: Place, found: &mut Vec<LiteralSecret>) {
    match value {
        Value::Object(keys) => {
            let is_login = |value: &Value| {
                value.as_str().is_some_and(|text| {
                    LOGIN_WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
                })
            };
            let place = if place == Place::Message && keys.values().any(is_login) {
                Place::Login
            } else {
                place
            };
            for (key, value) in keys {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{key}");
                let inner = match (place, key.as_str()) {
                    (Place::Keys, "headers") => Place::Headers,
                    (Place::Keys, "subscribe" | "ping" | "opening" | "env" | "body") => {
                        Place::Message
                    }
                    _ => place,
                };
                match value {
                    Value::String(text) => find_in_text(key, text, &path, place, found),
                    Value::Number(number) if place != Place::Keys && is_secret_name(key) => {
                        let values = vec![number.to_string()];
                        found.push(LiteralSecret { path, values, is_named: true });
                    }
                    Value::Array(words) if place == Place::Keys && key == "command" => {
                        find_in_command(words, &path, found);
                    }
                    _ => find_in_value(value, &path, inner, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                // Most items are topics, of which there may be many.
                match item {
                    Value::String(text) if place != Place::Keys || text.contains("://") => {
                        find_in_text("", text, &format!("{path}[{index}]"), place, found);
                    }
                    Value::Object(_) | Value::Array(_) => {
                        find_in_value(item, &format!("{path}[{index}]"), place, found);
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn find_in_text(key: &str, text: &str, path: &str, place: Place, found: &mut Vec<LiteralSecret>) {
    if text.contains("://") || key == "proxy" {
        find_in_url(text, path, found);
        return;
    }
    // A message may be written as a text of JSON.
    let looks_like_json = place != Place::Headers && text.trim_start().starts_with(['{', '[']);
    if looks_like_json && let Ok(message) = serde_json::from_str(text) {
        find_in_value(&message, path, Place::Message, found);
        return;
    }
    let values = match place {
        Place::Keys => return,
        Place::Headers => header_values(text),
        Place::Message | Place::Login => vec![text.to_owned()],
    };
    let is_named = is_secret_name(key)
        || (place == Place::Login && text.len() >= MIN_UNNAMED)
        || text.starts_with("Bearer ");
    let is_unnamed_header = place == Place::Headers && !is_plain_name(key);
    if is_named || is_unnamed_header {
        push(path, values, is_named, found);
    }
}

/// Finds secrets in the words of a command line, which may be command lines of a shell themselves: the
/// value of `--token=…` and of `TOKEN=…`, what follows `--token` or `-H "Token: …"`, the user of
/// `curl`, and URLs.
fn find_in_command(words: &[Value], path: &str, found: &mut Vec<LiteralSecret>) {
    let words = words.iter().enumerate().filter_map(|(index, word)| Some((index, word.as_str()?)));
    let is_edge = |c: char| c.is_whitespace() || "'\"`;|&<>()".contains(c);
    let pieces = words.flat_map(|(index, word)| {
        // A message as an argument is found as a whole.
        let is_json = word.trim_start().starts_with(['{', '[']);
        let pieces: Vec<&str> = if is_json { vec![word] } else { word.split(is_edge).collect() };
        pieces.into_iter().filter(|piece| !piece.is_empty()).map(move |piece| (index, piece))
    });
    let mut before = CommandPiece::Plain;
    for (index, piece) in pieces {
        let path = format!("{path}[{index}]");
        let (name, value) = piece.split_once(['=', ':']).unwrap_or((piece, ""));
        let is_option = piece.starts_with('-');
        let is_scheme = ["Bearer", "Basic", "Token", "Digest"]
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case(piece));
        before = match before {
            CommandPiece::SecretName if is_scheme => CommandPiece::SecretName,
            CommandPiece::SecretName if !is_option => {
                push(&path, header_values(piece), true, found);
                CommandPiece::Plain
            }
            CommandPiece::UserOption if !value.is_empty() => {
                push(&path, credential_values(name, value), true, found);
                CommandPiece::Plain
            }
            _ if piece.contains("://") => {
                find_in_url(piece, &path, found);
                CommandPiece::Plain
            }
            _ if piece.starts_with(['{', '[']) => {
                find_in_text("", piece, &path, Place::Message, found);
                CommandPiece::Plain
            }
            _ if is_option && ["-u", "--user", "--proxy-user"].contains(&piece) => {
                CommandPiece::UserOption
            }
            _ if !value.is_empty() && is_secret_name(name) => {
                push(&path, vec![value.to_owned()], true, found);
                CommandPiece::Plain
            }
            _ if (is_option || piece.ends_with(':')) && is_secret_name(name) => {
                CommandPiece::SecretName
            }
            _ => CommandPiece::Plain,
        };
    }
}

/// The meaning of a piece of a command line for the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CommandPiece {
    Plain,
    /// The name of a secret: an option, or a header with its colon.
    SecretName,
    /// The option that names a user and a password.
    UserOption,
}

fn find_in_url(url: &str, path: &str, found: &mut Vec<LiteralSecret>) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    if let Some((user_info, _)) = authority.rsplit_once('@') {
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        push(path, credential_values(&decoded(user), &decoded(password)), true, found);
    }
    for parameter in query.split('&').chain(fragment.split('&')) {
        let (name, value) = parameter.split_once('=').unwrap_or(("", parameter));
        let is_plain = is_plain_name(name);
        let is_named = is_secret_name(name) || (!is_plain && looks_like_key(value));
        if is_named || !is_plain {
            push(path, vec![value.to_owned(), decoded(value)], is_named, found);
        }
    }
    let segments = rest.split('/').skip(1).filter(|segment| looks_like_key(segment));
    push(path, segments.map(str::to_owned).collect(), true, found);
}

/// Adds a secret with those of its values that are long enough.
fn push(path: &str, values: Vec<String>, is_named: bool, found: &mut Vec<LiteralSecret>) {
    let is_kept =
        |value: &String| !value.trim().is_empty() && (is_named || value.len() >= MIN_UNNAMED);
    let values: Vec<String> = values.into_iter().filter(is_kept).collect();
    if !values.is_empty() {
        found.push(LiteralSecret { path: path.to_owned(), values, is_named });
    }
}

/// Returns the texts that a server may repeat of a user and a password: the password, both as `Basic`
/// joins them, and the user if it is long enough to hold more than a name.
pub(crate) fn credential_values(user: &str, password: &str) -> Vec<String> {
    let mut values = Vec::new();
    if !password.is_empty() {
        values.extend([format!("{user}:{password}"), password.to_owned()]);
    }
    if user.len() >= MIN_UNNAMED {
        values.push(user.to_owned());
    }
    values
}

/// Returns a header's value and the pieces of it that a server may repeat by themselves.
fn header_values(text: &str) -> Vec<String> {
    let mut values = vec![text.to_owned()];
    let pieces = text.split([' ', ';', ',', '"']);
    for piece in pieces.filter(|piece| piece.len() < text.len()) {
        // `session=…` of a cookie. The `=` at the end of Base64 is none of these.
        let value = match piece.trim_end_matches('=').split_once('=') {
            Some((_, value)) => value,
            None => piece,
        };
        if value.len() >= MIN_UNNAMED || piece.contains('=') {
            values.push(value.to_owned());
        }
    }
    if let Some(encoded) = text.strip_prefix("Basic ") {
        let encoded = encoded.trim().as_bytes();
        let encodings = [BASE64, BASE64_NOPAD, BASE64URL_NOPAD];
        let decoded = encodings.iter().find_map(|encoding| encoding.decode(encoded).ok());
        if let Some(user_info) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
            let password = user_info.split_once(':').map(|(_, password)| password.to_owned());
            values.extend(password);
            values.push(user_info);
        }
    }
    values
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns a name in lower case and without punctuation.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn is_secret_name(name: &str) -> bool {
    let name = plain(name);
    SECRET_PARTS.iter().any(|part| name.contains(part))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end))
}

fn is_plain_name(name: &str) -> bool {
    PLAIN_NAMES.contains(&plain(name).as_str())
}

/// Returns whether a segment of a path is random enough for a key.
fn looks_like_key(segment: &str) -> bool {
    let is_key_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    segment.len() >= MIN_PATH_KEY
        && segment.bytes().all(is_key_char)
        && segment.bytes().any(|byte| byte.is_ascii_digit())
        && segment.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(value: &Value) -> Vec<String> {
        let found = find_literal_secrets(value).into_iter();
        found.filter(|secret| secret.is_named).map(|secret| secret.path).collect()
    }

    fn values(value: &Value) -> Vec<String> {
        let mut values: Vec<String> =
            find_literal_secrets(value).into_iter().flat_map(|secret| secret.values).collect();
        values.sort();
        values.dedup();
        values
    }

    #[test]
    fn secrets_are_found_by_the_names_of_their_keys() {
        let config = json!({
            "source": {
                "type": "websocket",
                "url": "wss://h/ws?token=t&streams=btcusdt@trade&listenKey=k",
                "headers": {
                    "Authorization": "Bearer abc",
                    "X-MBX-APIKEY": "abc",
                    "User-Agent": "something long",
                    "X-Trace": "something long",
                },
                "proxy": "http://me:pw@proxy:1",
                "topics": ["token", "password"],
                "tls": { "client_key": "/etc/key.pem" },
                "subscribe": [
                    { "op": "login", "args": ["public-key-1", 5, "short"] },
                    { "op": "subscribe", "passphrase": "x", "nonce": "y" },
                    "{\"op\":\"x\",\"signature\":\"s\"}",
                ],
                "ping": { "message": { "id": 7, "token": 123 } },
            },
            "stages": [{ "type": "dedup", "key": "/id" }],
            "sinks": [{ "type": "exec", "env": { "DB_PASSWORD": "x", "MODE": "y" } }],
        });
        assert_eq!(
            named(&config),
            [
                "source.url",
                "source.url",
                "source.headers.Authorization",
                "source.headers.X-MBX-APIKEY",
                "source.proxy",
                "source.subscribe[0].args[0]",
                "source.subscribe[1].passphrase",
                "source.subscribe[2].signature",
                "source.ping.message.token",
                "sinks[0].env.DB_PASSWORD",
            ]
        );
    }

    #[test]
    fn secrets_in_command_lines_are_found() {
        for (command, secrets) in [
            (json!(["p", "--token", "t1", "--api-key=t2", "-v"]), vec!["t1", "t2"]),
            (
                json!(["curl", "-H", "Authorization: Bearer t3", "-H", "X-Api-Key:t4"]),
                vec!["t3", "t4"],
            ),
            (
                json!(["sh", "-c", "PASSWORD=t5 curl -u me:t6 'https://h/?token=t7' | jq ."]),
                vec!["me:t6", "t5", "t6", "t7"],
            ),
            (json!(["p", "{\"secret\":\"t8\"}"]), vec!["t8"]),
            (json!(["jq", "-c", ".token, .key", "--sort-keys", "file:name"]), vec![]),
            (json!(["p", "--password", "--verbose", "monkey", "key"]), vec![]),
        ] {
            assert_eq!(values(&json!({ "sinks": [{ "command": command }] })), secrets, "{command}");
        }
        let found = find_literal_secrets(&json!({ "command": ["p", "--token", "t"] }));
        assert_eq!(found[0].path, "command[2]");
    }

    #[test]
    fn the_pieces_that_a_server_may_repeat_are_secret_as_well() {
        let headers = json!({ "headers": {
            "Authorization": "Basic bWU6c2VjcmV0LXB3",
            "Cookie": "a=1; session=abc",
            "X-Any": "harmless-looking",
            "X-Mode": "full",
            "Origin": "https://www.example.org",
        }});
        assert_eq!(
            values(&headers),
            [
                "1",
                "Basic bWU6c2VjcmV0LXB3",
                "a=1; session=abc",
                "abc",
                "bWU6c2VjcmV0LXB3",
                "harmless-looking",
                "me:secret-pw",
                "secret-pw",
            ]
        );
        let url = "wss://h/v3/0123456789abcdef0123456789abcdef/x?sid=abcdefgh&v=1&key=a%2Fb";
        assert_eq!(
            secrets_of_url(url),
            ["abcdefgh", "abcdefgh", "a%2Fb", "a/b", "0123456789abcdef0123456789abcdef"]
        );
        assert_eq!(secrets_of_url("http://me:p%40w@proxy:1"), ["me:p@w", "p@w"]);
        assert_eq!(secrets_of_url("/a?b=c#access_token=x&state=y"), ["x", "x"]);
        assert!(secrets_of_url("wss://stream.bybit.com/v5/public/linear").is_empty());
        assert!(secrets_of_url("wss://h/stream?streams=btcusdt@trade/ethusdt@trade").is_empty());
    }
}
