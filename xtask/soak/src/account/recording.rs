//! The lines of the archive, compared with what was sent.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::discrepancy::Discrepancy;
use super::setup::Setup;
use super::tick::Tick;
use super::truth::Truth;

/// The ticks that are in the files of their topics, and what is wrong with the lines.
#[derive(Debug)]
pub(super) struct Recording {
    /// The number of times that each tick was recorded, by topic and number.
    times: Vec<Vec<u32>>,
    /// Lines that are torn, were never sent, or stand in the wrong file or order.
    pub(super) discrepancies: Vec<Discrepancy>,
    /// Ticks that are there more than once, although two connections may bring them.
    pub(super) doubled: u64,
}

impl Recording {
    /// Reads the files of a directory.
    pub(super) fn read(dir: &Path, setup: Setup, truth: &Truth) -> Result<Self> {
        let times = truth.topics.iter().map(|topic| vec![0; topic.sent.len()]).collect();
        let mut recording = Self { times, discrepancies: Vec::new(), doubled: 0 };
        let mut last_numbers = vec![None; truth.topics.len()];
        for path in list_files(dir)? {
            let name = path.file_name().and_then(|name| name.to_str()).context("a file name")?;
            let (stem, _) = name.rsplit_once('_').context("a file without an hour")?;
            if setup.has_clock_steps() {
                // The order of the hours is not that of the runs.
                last_numbers.fill(None);
            }
            let text = fs::read_to_string(&path)?;
            for line in text.split_inclusive('\n') {
                recording.add_line(setup, truth, stem, line, &mut last_numbers);
            }
        }
        Ok(recording)
    }

    pub(super) fn contains(&self, topic: usize, number: usize) -> bool {
        self.times.get(topic).and_then(|times| times.get(number)).is_some_and(|times| *times > 0)
    }

    /// Returns whether the last tick of each topic is there.
    pub(super) fn is_caught_up(&self) -> bool {
        self.times.iter().all(|times| times.last().is_none_or(|times| *times > 0))
    }

    fn report(&mut self, stem: &str, text: String) {
        self.discrepancies.push(Discrepancy::of_lines(stem, text));
    }

    fn add_line(
        &mut self,
        setup: Setup,
        truth: &Truth,
        stem: &str,
        line: &str,
        last_numbers: &mut [Option<usize>],
    ) {
        let Some(text) = line.strip_suffix('\n') else {
            self.report(stem, format!("a torn line: {line}"));
            return;
        };
        if text.starts_with(r#"{"success":true,"#) {
            return;
        }
        let sent = Tick::parse(text).filter(|tick| {
            let topic = truth.topics.get(tick.topic);
            topic.and_then(|topic| topic.sent.get(tick.number)) == Some(&tick.sent)
        });
        let Some(tick) = sent else {
            self.report(stem, format!("a line that was never sent: {text}"));
            return;
        };
        if setup.stem(tick.topic) != stem {
            self.report(stem, format!("a line of another file: {text}"));
        }
        let times = self.times.get_mut(tick.topic).and_then(|times| times.get_mut(tick.number));
        let Some(times) = times else { return };
        *times += 1;
        let is_doubled = *times > 1;
        let Some(last) = last_numbers.get_mut(tick.topic) else { return };
        let is_late = last.is_some_and(|last| tick.number < last);
        *last = (*last).max(Some(tick.number));
        if setup.overlaps() {
            self.doubled += u64::from(is_doubled);
        } else if is_doubled {
            self.report(stem, format!("a line that is doubled: {text}"));
        } else if is_late {
            self.report(stem, format!("a line out of order: {text}"));
        }
    }
}

/// Returns the files with lines, in the order of their hours.
fn list_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
