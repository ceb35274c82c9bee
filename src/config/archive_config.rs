//! The section `archive`: compression and retention of closed hours.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::archive::compress::Compression;
use crate::archive::job::Job;
use crate::archive::retention::RetentionLimits;
use crate::base::problem::Problem;
use crate::base::units::{ByteSize, ConfigDuration};

/// zstd level with the best compression for its cost on market data, see BENCHMARKS.md.
const DEFAULT_LEVEL: u32 = 1;
/// Range of `compression.level`.
const MIN_LEVEL: u32 = 1;
const MAX_LEVEL: u32 = 19;
/// Maximum of `compression.threads`.
const MAX_THREADS: u32 = 64;
/// Minimum of `retention.max_age`: only whole hours are removed.
const ONE_HOUR: ConfigDuration = ConfigDuration::from_secs(3600);

/// Compression and retention of closed hours. Each closed hour is compressed, and the compressed
/// file is decoded and compared before the original is removed. Without this section closed hours
/// stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ArchiveConfig {
    /// Times at which the job runs, as a cron expression with seconds, in UTC: second, minute, hour,
    /// day of month, month, day of week. The job also runs once at start.
    #[schemars(regex(pattern = r"^\s*(@[a-z]+|\S+(\s+\S+){5,6})\s*$"))]
    pub(crate) schedule: String,
    /// Settings of the compression.
    pub(crate) compression: CompressionConfig,
    /// Limits of the archive. Without limits everything is kept forever.
    pub(crate) retention: RetentionConfig,
}

/// Settings of the compression.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CompressionConfig {
    /// zstd level: 1 is the fastest, 19 gives the smallest files.
    #[schemars(range(min = MIN_LEVEL, max = MAX_LEVEL))]
    pub(crate) level: u32,
    /// Search for repetitions over 64 MiB instead of 4 MiB. The compression then takes some hundred
    /// MiB of memory, and a reader needs 64 MiB.
    pub(crate) long_distance: bool,
    /// Number of hours that are compressed at the same time.
    #[schemars(range(min = 1, max = MAX_THREADS))]
    pub(crate) threads: u32,
}

/// Limits of the archive. Whole hours are removed, oldest first. The open hour is never removed,
/// and an hour that is not sealed is removed for `min_free_disk` only.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionConfig {
    /// Maximum time since the end of an hour. Older hours are removed.
    pub(crate) max_age: Option<ConfigDuration>,
    /// Maximum size of all files of all hours together.
    pub(crate) max_total_size: Option<ByteSize>,
    /// Minimum free space on the file system, checked every few seconds.
    pub(crate) min_free_disk: Option<ByteSize>,
    /// Time for which a journal is kept after the end of its hour, even when the hour was removed.
    /// Without it a journal is removed with its hour.
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
    /// Returns the problems that the types do not exclude: ranges, and keys that contradict each
    /// other.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |good: bool, path: &str, message: &str| {
            if !good {
                problems.push(Problem::at(format!("archive.{path}"), message));
            }
        };
        let CompressionConfig { level, threads, .. } = self.compression;
        check(
            (MIN_LEVEL..=MAX_LEVEL).contains(&level),
            "compression.level",
            "must be from 1 to 19",
        );
        check((1..=MAX_THREADS).contains(&threads), "compression.threads", "must be from 1 to 64");
        let RetentionConfig { max_age, max_total_size, min_free_disk, keep_journals } =
            self.retention;
        check(
            max_age.is_none_or(|age| age >= ONE_HOUR),
            "retention.max_age",
            "must be at least 1h, because whole hours are removed; leave the key out for no limit",
        );
        let not_zero = "must be more than 0; leave the key out for no limit";
        check(max_total_size != Some(ByteSize::default()), "retention.max_total_size", not_zero);
        check(min_free_disk != Some(ByteSize::default()), "retention.min_free_disk", not_zero);
        check(
            keep_journals.is_none_or(|keep| keep >= max_age.unwrap_or(ONE_HOUR)),
            "retention.keep_journals",
            "must be at least 1h and not shorter than `max_age`; leave the key out to remove journals with their hours",
        );
        if let Err(message) = Schedule::parse(&self.schedule) {
            check(false, "schedule", &message);
        }
        problems
    }

    /// Returns the archive job for one directory.
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

/// One line for `streamer check`.
impl fmt::Display for ArchiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RetentionConfig { max_age, max_total_size, min_free_disk, keep_journals } =
            self.retention;
        write!(f, "at `{}` UTC, zstd level {}", self.schedule, self.compression.level)?;
        if max_age.is_none() && max_total_size.is_none() && min_free_disk.is_none() {
            return f.write_str(", everything is kept forever");
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
