//! Expands `${NAME}` in the strings of a configuration or of a profile, so that secrets stay out of
//! the file.

use serde_json::Value;

use super::problem::Problem;

/// Name of the key whose value is no secret: commands print the directory of the archive for programs
/// that use it.
const PUBLIC_KEY: &str = "output_dir";

/// Replaces `${NAME}` in every string by the environment variable; `$${` stands for a plain `${`.
/// Returns the inserted values, which are secrets, but for those in `output_dir`.
///
/// # Errors
/// Every string with a variable that is not set or with an unclosed `${`, each with its path.
pub(crate) fn expand(
    value: &mut Value,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Vec<Problem>> {
    let mut expansion = Expansion { lookup, secrets: Vec::new(), problems: Vec::new() };
    expansion.expand_value(value, "");
    if expansion.problems.is_empty() { Ok(expansion.secrets) } else { Err(expansion.problems) }
}

/// Restores the strings with `${NAME}` in a value that was made from `template`.
pub(crate) fn restore(value: &mut Value, template: &Value) {
    match (value, template) {
        (value @ Value::String(_), Value::String(text)) if text.contains("${") => {
            *value = Value::from(text.as_str());
        }
        (Value::Object(keys), Value::Object(templates)) => {
            for (key, value) in keys {
                if let Some(template) = templates.get(key) {
                    restore(value, template);
                }
            }
        }
        (Value::Array(items), Value::Array(templates)) => {
            for (item, template) in items.iter_mut().zip(templates) {
                restore(item, template);
            }
        }
        _ => {}
    }
}

struct Expansion<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    secrets: Vec<String>,
    problems: Vec<Problem>,
}

impl Expansion<'_> {
    fn expand_value(&mut self, value: &mut Value, path: &str) {
        match value {
            Value::String(text) if text.contains("${") => {
                let known = self.secrets.len();
                match self.expand_text(text) {
                    Ok(expanded) => *text = expanded,
                    Err(message) => self.problems.push(Problem::at(path, message)),
                }
                if path.rsplit('.').next() == Some(PUBLIC_KEY) {
                    self.secrets.truncate(known);
                }
            }
            Value::Object(keys) => {
                for (key, value) in keys {
                    let dot = if path.is_empty() { "" } else { "." };
                    self.expand_value(value, &format!("{path}{dot}{key}"));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.expand_value(item, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn expand_text(&mut self, text: &str) -> Result<String, String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = after;
                continue;
            }
            expanded.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                return Err("`${` is not closed by `}`; write `$${` for a plain `${`".to_owned());
            };
            let Some(value) = (self.lookup)(name) else {
                return Err(format!("the environment variable `{name}` is not set"));
            };
            expanded.push_str(&value);
            self.secrets.push(value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lookup(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret".to_owned())
    }

    #[test]
    fn variables_are_expanded_and_restored() {
        let template = json!({"a": ["x ${TOKEN}-${TOKEN}"], "b": 1, "c": "$${TOKEN}"});
        let mut value = template.clone();
        let secrets = expand(&mut value, &lookup).unwrap();
        assert_eq!(value, json!({"a": ["x s3cret-s3cret"], "b": 1, "c": "${TOKEN}"}));
        assert_eq!(secrets, ["s3cret", "s3cret"]);
        restore(&mut value, &template);
        assert_eq!(value, template);
    }

    #[test]
    fn the_directory_of_the_archive_is_no_secret() {
        let mut value =
            json!({ "sinks": [{ "output_dir": "/${TOKEN}" }], "output_dir": "${TOKEN}" });
        assert_eq!(expand(&mut value, &lookup).unwrap(), [""; 0]);
        assert_eq!(value["sinks"][0]["output_dir"], "/s3cret");
        let mut value = json!({ "output_dir": "${TOKEN}", "log_file": "${TOKEN}" });
        assert_eq!(expand(&mut value, &lookup).unwrap(), ["s3cret"]);
    }

    #[test]
    fn an_unset_variable_is_reported_with_its_path() {
        let mut value = json!({"headers": {"k": "${NOPE}"}, "list": ["${open"]});
        let problems = expand(&mut value, &lookup).unwrap_err();
        assert_eq!(problems[0].path, "headers.k");
        assert!(problems[0].message.contains("`NOPE` is not set"));
        assert_eq!(problems[1].path, "list[0]");
    }
}
