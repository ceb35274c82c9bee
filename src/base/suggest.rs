//! Suggestions for mistyped names.

/// Least similarity (Jaro-Winkler, 1 for equal names) of a name that is suggested.
const MIN_SIMILARITY: f64 = 0.8;

/// Returns ``, did you mean `x`?`` with the known name that is most similar to `typed`, or an empty
/// text when none is similar.
pub(crate) fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&typed, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| format!(", did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let known = ["buffer_size", "buffer_bytes", "output_dir", "ws_url"];
        assert_eq!(did_you_mean("buffer_sise", known), ", did you mean `buffer_size`?");
        assert_eq!(did_you_mean("OutputDir", known), ", did you mean `output_dir`?");
        assert_eq!(did_you_mean("colour", known), "");
    }
}
