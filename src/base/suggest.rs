//! "Did you mean …?"

/// Names less alike than this are not suggested; 1 is the same.
const MIN_SIMILARITY: f64 = 0.8;

/// `, did you mean `x`?` for the name most like `typed`, or nothing.
pub(crate) fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&typed, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > MIN_SIMILARITY)
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
