//! The told and the missing time, by cause.

use std::collections::BTreeMap;
use std::fmt;

use super::cause_total::CauseTotal;

/// A row for each kind, cause and certainty of a gap.
#[derive(Debug, Default)]
pub(super) struct CauseTable {
    rows: BTreeMap<String, CauseTotal>,
}

impl CauseTable {
    /// Returns the row with this label.
    pub(super) fn row(&mut self, label: String) -> &mut CauseTotal {
        self.rows.entry(label).or_default()
    }

    /// Adds the rows of another table.
    pub(super) fn merge(&mut self, other: &Self) {
        for (label, total) in &other.rows {
            self.row(label.clone()).merge(total);
        }
    }
}

impl fmt::Display for CauseTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.keys().map(String::len).max().unwrap_or(0).max("cause".len());
        let heading = ["gaps", "told s", "missing s", "greatest excess s"];
        let [gaps, told, missing, excess] = heading;
        write!(f, "{:width$} {gaps:>7} {told:>10} {missing:>10} {excess:>18}", "cause")?;
        for (label, total) in &self.rows {
            let CauseTotal { gaps, told, missing, greatest_excess } = total;
            write!(
                f,
                "\n{label:width$} {gaps:>7} {told:>10.3} {missing:>10.3} {greatest_excess:>18.3}"
            )?;
        }
        Ok(())
    }
}
