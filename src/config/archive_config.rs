//! The `archive` section: what happens to hours that are closed.

use std::fmt;
use std::path::PathBuf;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::compress::Compression;
use crate::archive::job::Job;
use crate::archive::retention::RetentionLimits;
use crate::base::config_error::Problem;
use crate::base::time::UnixNanos;
use crate::base::units::{ByteSize, ConfigDuration};

/// The level with the best ratio for its cost on market data, see BENCHMARKS.md.
const DEFAULT_LEVEL: u32 = 1;

/// What happens to hours that are closed: they are compressed, proved and, where limits are set,
/// removed in the end. Without this section they stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ArchiveConfig {
    /// When the job runs, as a cron expression with seconds, in UTC: second, minute, hour, day of
    /// month, month, day of week. It runs once at start, too.
    #[schemars(regex(pattern = r"^\s*(@[a-z]+|\S+(\s+\S+){5,6})\s*$"))]
    pub(crate) schedule: String,
    /// How hours are compressed.
    pub(crate) compression: CompressionConfig,
    /// What the archive may take. Without limits everything is kept for ever.
    pub(crate) retention: RetentionConfig,
}

/// How hours are compressed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CompressionConfig {
    /// zstd's level: 1 is fast, 19 is small.
    #[schemars(range(min = 1, max = 19))]
    pub(crate) level: u32,
    /// Look for repetitions over 64 MiB rather than 4 MiB. Takes some hundred MiB of memory, and
    /// readers need 64 MiB.
    pub(crate) long_distance: bool,
    /// How many hours are compressed at once.
    #[schemars(range(min = 1, max = 64))]
    pub(crate) threads: u32,
}

/// What the archive may take: whole hours go, oldest first, never the open one, and unsealed ones
/// only for `min_free_disk`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionConfig {
    /// Hours that ended longer ago are removed.
    pub(crate) max_age: Option<ConfigDuration>,
    /// The most that all files of all hours may take.
    pub(crate) max_total_size: Option<ByteSize>,
    /// What stays free on the file system. It is looked at every few seconds.
    pub(crate) min_free_disk: Option<ByteSize>,
    /// Journals stay when their hour goes, and go this long after it ended. Without it they go with
    /// their hour.
    pub(crate) keep_journals: Option<ConfigDuration>,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            schedule: "0 5 * * * *".to_owned(),
            compression: CompressionConfig::default(),
            retention: RetentionConfig::default(),
        }
    }
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self { level: DEFAULT_LEVEL, long_distance: false, threads: 1 }
    }
}

impl ArchiveConfig {
    /// What no type can say.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |good: bool, path: &str, message: &str| {
            if !good {
                problems.push(Problem::at(format!("archive.{path}"), message));
            }
        };
        let CompressionConfig { level, threads, .. } = self.compression;
        check((1..=19).contains(&level), "compression.level", "must be from 1 to 19");
        check((1..=64).contains(&threads), "compression.threads", "must be from 1 to 64");
        let RetentionConfig { max_age, max_total_size, min_free_disk, keep_journals } =
            self.retention;
        let zero = "must be more than 0; leave the key out for no limit";
        let hour = max_age.is_none_or(|age| age >= ConfigDuration::from_secs(3600));
        let least = "must be at least 1h, as whole hours go; leave the key out for no limit";
        check(hour, "retention.max_age", least);
        check(max_total_size != Some(ByteSize::default()), "retention.max_total_size", zero);
        check(min_free_disk != Some(ByteSize::default()), "retention.min_free_disk", zero);
        let longer = keep_journals
            .is_none_or(|keep| keep >= max_age.unwrap_or(ConfigDuration::from_secs(3600)));
        let least = "must be at least 1h, and no shorter than `max_age`; leave the key out to remove journals with their hours";
        check(longer, "retention.keep_journals", least);
        if let Err(message) = Schedule::parse(&self.schedule) {
            check(false, "schedule", &message);
        }
        problems
    }

    /// The job for one directory.
    pub(crate) fn job(&self, dir: PathBuf) -> Job {
        let RetentionConfig { max_age, max_total_size, min_free_disk, keep_journals } =
            self.retention;
        Job {
            dir,
            compression: Compression {
                level: i32::try_from(self.compression.level).unwrap_or(i32::MAX),
                long_distance: self.compression.long_distance,
            },
            threads: self.compression.threads as usize,
            limits: RetentionLimits {
                max_age: max_age.map(ConfigDuration::to_duration),
                max_total_size: max_total_size.map(ByteSize::bytes),
                min_free_disk: min_free_disk.map(ByteSize::bytes),
                keep_journals: keep_journals.map(ConfigDuration::to_duration),
            },
        }
    }
}

/// One line for people.
impl fmt::Display for ArchiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RetentionConfig { max_age, max_total_size, min_free_disk, keep_journals } =
            self.retention;
        write!(f, "at `{}` UTC, zstd level {}", self.schedule, self.compression.level)?;
        if max_age.is_none() && max_total_size.is_none() && min_free_disk.is_none() {
            return f.write_str(", everything is kept for ever");
        }
        if let Some(age) = max_age {
            write!(f, ", max_age {age}")?;
        }
        if let Some(size) = max_total_size {
            write!(f, ", max_total_size {size}")?;
        }
        if let Some(size) = min_free_disk {
            write!(f, ", min_free_disk {size}")?;
        }
        match keep_journals {
            Some(age) => write!(f, ", keep_journals {age}"),
            None => Ok(()),
        }
    }
}

/// A cron expression that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Schedule(Cron);

impl Schedule {
    /// Reads an expression with seconds.
    ///
    /// # Errors
    /// What is wrong with it, in words for its author.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fields = text.split_whitespace().count();
        if fields == 5 {
            let with_seconds = format!("0 {}", text.trim());
            return Err(format!(
                "`{text}` has five fields; the seconds come first: \"{with_seconds}\""
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build();
        let cron = parser.parse(text).map_err(|error| {
            format!("`{text}` is no cron expression: {error}; write for example \"0 5 * * * *\" for five minutes past each hour")
        })?;
        let schedule = Self(cron);
        if schedule.next_after(UnixNanos::from_seconds(1_700_000_000)).is_none() {
            return Err(format!("`{text}` never comes"));
        }
        Ok(schedule)
    }

    /// The expression.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// When it comes next.
    pub(crate) fn next_after(&self, now: UnixNanos) -> Option<UnixNanos> {
        let seconds = i64::try_from(now.seconds()).ok()?;
        let now = chrono::DateTime::from_timestamp(seconds, 0)?;
        let next = self.0.find_next_occurrence(&now, false).ok()?;
        u64::try_from(next.timestamp()).ok().map(UnixNanos::from_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_needs_seconds_and_a_future_occurrence() {
        let schedule = Schedule::parse("0 5 * * * *").unwrap();
        let next = schedule.next_after(UnixNanos::from_seconds(7200)).unwrap();
        assert_eq!(next, UnixNanos::from_seconds(7200 + 300));
        for (bad, words) in [
            ("5 * * * *", "the seconds come first: \"0 5 * * * *\""),
            ("often", "is no cron expression"),
            ("0 61 * * * *", "is no cron expression"),
            ("0 0 0 30 2 *", "never comes"),
            ("", "is no cron expression"),
        ] {
            let message = Schedule::parse(bad).unwrap_err();
            assert!(message.contains(words), "{bad}: {message}");
        }
    }
}
