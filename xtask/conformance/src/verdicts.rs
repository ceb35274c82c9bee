//! The suite's verdicts, by category.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::suite::AGENT;

/// The verdicts of the suite, and the subject of each category.
const CATEGORIES: [(u32, &str); 11] = [
    (1, "framing"),
    (2, "pings and pongs"),
    (3, "reserved bits"),
    (4, "opcodes"),
    (5, "fragmentation"),
    (6, "UTF-8"),
    (7, "close handshake"),
    (9, "limits and performance"),
    (10, "autofragmentation"),
    (12, "compression: payloads"),
    (13, "compression: parameters"),
];
/// The suite's words that are no failure, in the order of the columns.
const COLUMNS: [&str; 4] = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"];

/// The verdicts on all cases that were run.
pub(crate) struct Verdicts {
    /// Number of cases by category and verdict.
    counts: BTreeMap<u32, BTreeMap<String, u32>>,
    /// Numbers of the cases that failed.
    pub(crate) failed: Vec<String>,
}

impl Verdicts {
    /// Reads the `index.json` of the suite.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        let index: Value = serde_json::from_str(&text)?;
        let cases = index.get(AGENT).and_then(Value::as_object).context("there are no verdicts")?;
        let mut verdicts = Self { counts: BTreeMap::new(), failed: Vec::new() };
        for (case, verdict) in cases {
            let word = |key: &str| verdict.get(key).and_then(Value::as_str).unwrap_or("MISSING");
            let is_failure = |word: &str| !COLUMNS.contains(&word);
            let (behavior, close) = (word("behavior"), word("behaviorClose"));
            let counted = if is_failure(behavior) || is_failure(close) {
                verdicts.failed.push(case.clone());
                "FAILED"
            } else {
                behavior
            };
            let category = case.split('.').next().and_then(|category| category.parse().ok());
            let category = verdicts.counts.entry(category.context("a case has no number")?);
            *category.or_default().entry(counted.to_owned()).or_default() += 1;
        }
        Ok(verdicts)
    }

    /// Returns a Markdown table of the verdicts.
    pub(crate) fn to_table(&self) -> String {
        let columns: Vec<_> = COLUMNS.into_iter().chain(["FAILED"]).collect();
        let mut table = format!("| category | cases | {} |\n", columns.join(" | "));
        table.push_str("| --- |");
        table.push_str(&" ---: |".repeat(columns.len() + 1));
        table.push('\n');
        let mut totals = BTreeMap::<&str, u32>::new();
        for (category, counts) in &self.counts {
            let subject = CATEGORIES.iter().find(|(number, _)| number == category);
            let subject = subject.map_or("", |(_, subject)| subject);
            let total: u32 = counts.values().sum();
            let cells = columns.iter().map(|word| counts.get(*word).copied().unwrap_or(0));
            let cells: Vec<_> = cells.map(|count| count.to_string()).collect();
            for (word, count) in counts {
                *totals.entry(word).or_default() += count;
            }
            let row = format!("| {category} {subject} | {total} | {} |\n", cells.join(" | "));
            table.push_str(&row);
        }
        let cells = columns.iter().map(|word| totals.get(word).copied().unwrap_or(0).to_string());
        let cells: Vec<_> = cells.collect();
        let total: u32 = totals.values().sum();
        table + &format!("| all | {total} | {} |", cells.join(" | "))
    }
}
