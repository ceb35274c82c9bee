//! A stage that runs a jq program on every message.

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader, lex};
use jaq_core::{Ctx, Filter, Vars, compile, load};
use jaq_json::{Val, read, write};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// Maximum number of outputs for one message. It stops a program whose output never ends.
const MAX_OUTPUTS: usize = 10_000;
/// Maximum number of bytes of all outputs for one message.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Maximum depth of nested arrays and objects in a message, since jaq recurses over them.
const MAX_DEPTH: usize = 200;

/// Runs a jq program on every message. The program may change the message, drop it, or replace it by
/// several.
///
/// The language is jq (<https://jqlang.org/manual>) as jaq implements it. Outputs are written as
/// compact JSON; large integers and decimals keep their digits. A message that is no JSON, or on
/// which the program fails or halts, passes unchanged. A program that loops or recurses without end
/// cannot be stopped: it blocks the pipeline or ends the recorder.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JqConfig {
    /// Text of the program, such as `select(.data[0].v | tonumber > 1)`.
    pub program: String,
}

/// A program that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("`program` does not compile: {message}\n    {line}\n    {caret}")]
struct JqError {
    message: String,
    /// Line of the program with the mistake.
    line: String,
    /// Spaces and a `^` below the mistake.
    caret: String,
}

impl JqError {
    /// Returns an error at the start of `rest`. A `rest` that is no part of the program means its
    /// end.
    fn at(program: &str, rest: &str, message: String) -> Self {
        let offset = (rest.as_ptr() as usize).wrapping_sub(program.as_ptr() as usize);
        let offset = offset.min(program.len());
        let before = program.get(..offset).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |feed| feed + 1);
        let line = program.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(start..).unwrap_or_default().chars().count();
        Self { message, line: line.to_owned(), caret: " ".repeat(column) + "^" }
    }
}

impl StageConfig for JqConfig {
    const TYPE: &'static str = "jq";

    fn example() -> Value {
        json!({ "program": ".data[] | {s, p, v}" })
    }

    fn build(self, _: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        Ok(Box::new(Jq { filter: compile(&self.program)? }))
    }
}

/// Compiles the program with the definitions of jq's standard library.
///
/// # Errors
/// The first mistake of the program.
fn compile(program: &str) -> Result<Filter<JustLut<Val>>, JqError> {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let file = File { code: program, path: () };
    let modules = Loader::new(defs).load(&arena, file).map_err(|errors| {
        let error = errors.into_iter().next().map(|(_, error)| error);
        load_error(program, error)
    })?;
    let compiled = jaq_core::Compiler::default().with_funs(funs).compile(modules);
    compiled.map_err(|errors| match errors.into_iter().flat_map(|(_, errors)| errors).next() {
        Some((name, compile::Undefined::Filter(arity))) => {
            JqError::at(program, name, format!("there is no filter `{name}/{arity}`"))
        }
        Some((name, kind)) => {
            JqError::at(program, name, format!("there is no {} `{name}`", kind.as_str()))
        }
        None => JqError::at(program, program, "the text is no jq program".to_owned()),
    })
}

fn load_error(program: &str, error: Option<load::Error<&str>>) -> JqError {
    match error {
        Some(load::Error::Lex(errors)) => {
            let first = errors.into_iter().next();
            let (expected, rest) = first.unwrap_or((lex::Expect::Token, program));
            JqError::at(program, rest, format!("{} expected", expected.as_str()))
        }
        Some(load::Error::Parse(errors)) => match errors.into_iter().next() {
            Some((expected, rest)) => {
                JqError::at(program, rest, format!("{} expected", expected.as_str()))
            }
            None => JqError::at(program, program, "the text is no jq program".to_owned()),
        },
        _ => JqError::at(program, program, "modules cannot be loaded".to_owned()),
    }
}

/// Returns the depth of nested arrays and objects in a valid JSON text. Brackets within strings do
/// not count: else a string of brackets would keep a message from the program.
fn nesting_depth(json: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    let mut in_string = false;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            // The next byte is no end of the string.
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A compiled program.
struct Jq {
    filter: Filter<JustLut<Val>>,
}

impl Stage for Jq {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        let compact = write::Pp::default();
        batch.expand(|record, lines| {
            // jaq accepts more than JSON, and recurses.
            serde_json::from_slice::<IgnoredAny>(record.payload)?;
            if nesting_depth(record.payload) > MAX_DEPTH {
                return Err(format!("the message is nested deeper than {MAX_DEPTH}").into());
            }
            let input = read::parse_single(record.payload).map_err(|error| error.to_string())?;
            let context = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
            let outputs = self.filter.id.run((context, input));
            let mut bytes = 0;
            for (count, output) in outputs.enumerate() {
                if count == MAX_OUTPUTS {
                    return Err(format!("the program has more than {MAX_OUTPUTS} outputs").into());
                }
                let output = output.map_err(|failed| match failed.get_err() {
                    Ok(error) => error.to_string(),
                    Err(_) => "the program halts".to_owned(),
                })?;
                let mut line = Vec::new();
                write::write(&mut line, &compact, 0, &output)?;
                bytes += line.len();
                if bytes > MAX_OUTPUT_BYTES {
                    return Err(
                        format!("the program outputs more than {MAX_OUTPUT_BYTES} bytes").into()
                    );
                }
                // jaq has values that JSON does not have, such as NaN.
                serde_json::from_slice::<IgnoredAny>(&line)?;
                lines.push(&line);
            }
            Ok(())
        });
        Ok(())
    }

    fn needs_ticks(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::stage_harness::{StageHarness, StageOutcome};

    fn run(program: &str, messages: &[&str]) -> StageOutcome {
        StageHarness::new::<JqConfig>(json!({ "program": program })).unwrap().run(messages)
    }

    #[test]
    fn a_program_maps_filters_and_fans_out() {
        let trade = r#"{"z":1,"data":[{"s":"A","p":"1.10"},{"s":"B","p":2.50}],"id":12345678901234567890123}"#;
        let StageOutcome { passed, failures } = run(".data[] | {s, p}", &[trade]);
        assert_eq!(passed, [r#"{"s":"A","p":"1.10"}"#, r#"{"s":"B","p":2.50}"#]);
        assert!(failures.is_empty());
        assert_eq!(run("select(.z > 1)", &[trade]).passed, Vec::<String>::new());
        assert_eq!(run(".", &[trade]).passed, [trade], "order and numbers stay");
        assert_eq!(run("\"a\\nb\"", &["1"]).passed, [r#""a\nb""#], "one line a message");
    }

    #[test]
    fn a_message_that_fails_passes_unchanged() {
        let StageOutcome { passed, failures } =
            run(".a + 1, error(\"no\")", &[r#"{"a":1}"#, "pong"]);
        assert_eq!(passed, [r#"{"a":1}"#, "pong"]);
        assert_eq!(failures.len(), 2);
        let StageOutcome { passed, failures } = run("range(infinite)", &["1"]);
        assert_eq!(passed, ["1"]);
        assert!(failures[0].contains("more than 10000"));
        let deep = "[".repeat(300) + &"]".repeat(300);
        for (program, message) in [
            (".", deep.as_str()),
            ("halt", "1"),
            ("halt_error", "1"),
            ("nan", "1"),
            ("{(1):2}", "1"),
            (".", "NaN"),
            (".", "+1"),
        ] {
            let StageOutcome { passed, failures } = run(program, &[message]);
            assert_eq!(
                (passed.as_slice(), failures.len()),
                ([message.to_owned()].as_slice(), 1),
                "{program}"
            );
        }
    }

    #[test]
    fn brackets_in_strings_are_no_nesting() {
        let open = "[".repeat(500);
        let closed = "}".repeat(500);
        for text in [
            open.clone(),
            format!("\\\"{open}"),
            format!("\\\\\\\"{open}"),
            format!("\\u005b{closed}"),
        ] {
            let message = format!("{{\"t\":\"{text}\",\"z\":1}}");
            let StageOutcome { passed, failures } = run("select(.z > 1)", &[&message]);
            assert_eq!((passed.len(), failures.len()), (0, 0), "{text}: {failures:?}");
        }
        // A string of closing brackets does not make up for nested arrays either.
        let deep = format!("[\"{}\",{}{}]", "]".repeat(500), "[".repeat(300), "]".repeat(300));
        assert_eq!(run("empty", &[&deep]).failures.len(), 1);
        // A backslash before the end of a string is one of the string.
        let deep = format!("[\"\\\\\",{}{}]", "[".repeat(300), "]".repeat(300));
        assert_eq!(run("empty", &[&deep]).failures.len(), 1);
    }

    #[test]
    fn a_compile_error_points_at_the_column() {
        for (program, what, arrow) in [
            (".a | (.b", "closing parenthesis expected", 8),
            (".a | nothing(1)", "there is no filter `nothing/1`", 5),
            (".a |\n $x", "there is no variable `$x`", 1),
            (".a | | .b", "expected", 5),
            ("", "expected", 0),
        ] {
            let keys = json!({ "program": program });
            let error = StageHarness::new::<JqConfig>(keys).err().unwrap().to_string();
            assert!(error.contains(what), "{error}");
            let last = error.lines().last().unwrap();
            assert_eq!(last.len(), 4 + arrow + 1, "{error}");
        }
    }
}
