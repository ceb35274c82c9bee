//! The time until which a recording is complete.

use crate::base::time::UnixNanos;

/// The last digit of a line of a frontier whose lines were durable.
const DURABLE: &str = "1";

/// The time until which everything that was sent is written, in all files of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontier {
    /// That time.
    pub complete_until: UnixNanos,
    /// Time by the same clock at which the machine was started: it tells a clock that was set since.
    pub booted: UnixNanos,
    /// Identifier of the start of the machine; empty where the system has none.
    pub boot: String,
    /// True if the lines were durable, so that not even a power cut undoes them.
    pub durable: bool,
}

impl Frontier {
    /// Returns whether the lines are in the files, though the recorder was killed, on a machine
    /// whose last start is `boot`.
    pub fn holds_after(&self, boot: &str) -> bool {
        self.durable || (!boot.is_empty() && self.boot == boot)
    }

    /// Returns the frontier as one line, whose length depends on `boot` alone.
    pub(super) fn to_line(&self) -> String {
        let Self { complete_until, booted, boot, durable } = self;
        let durable = u8::from(*durable);
        format!("{:020} {:020} {durable} {boot}", complete_until.nanos(), booted.nanos())
    }

    /// Returns the frontier of a line; `None` if it is garbled.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut next_time = || words.next()?.parse().ok().map(UnixNanos::new);
        let complete_until = next_time()?;
        let booted = next_time()?;
        let durable = words.next()? == DURABLE;
        let boot = words.next()?.to_owned();
        Some(Self { complete_until, booted, boot, durable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontier_survives_its_line_and_holds_after_a_power_cut_only_if_durable() {
        let complete_until = UnixNanos::from_seconds(1_800_000_000);
        let booted = UnixNanos::from_seconds(1_700_000_000);
        let mut frontier =
            Frontier { complete_until, booted, boot: "a-b".to_owned(), durable: false };
        assert_eq!(Frontier::from_line(&frontier.to_line()).as_ref(), Some(&frontier));
        assert!(frontier.holds_after("a-b"));
        assert!(!frontier.holds_after("c-d"));
        frontier.durable = true;
        assert_eq!(Frontier::from_line(&frontier.to_line()).as_ref(), Some(&frontier));
        assert!(frontier.holds_after("c-d"));
        frontier.boot.clear();
        frontier.durable = false;
        assert_eq!(Frontier::from_line(&frontier.to_line()).as_ref(), Some(&frontier));
        assert!(!frontier.holds_after(""), "two starts without a name are not the same");
        assert_eq!(Frontier::from_line("17"), None);
        assert_eq!(Frontier::from_line("x y 1 b"), None);
    }
}
