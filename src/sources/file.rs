//! The source of lines of files.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::file_encoding::{check_readable, open_decoded};
use super::line_reader::{LeftOut, LineReader, ReadEnd};
use crate::archive::completeness::recorded_bytes;
use crate::base::json::Selector;
use crate::base::path_text;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{
    BoxError, BuildContext, ConnectionEvent, Source, SourceConfig, SourceError, Subscription,
};

/// Records every line of the files as a message, one file after the other. The pipeline ends with the
/// last file.
///
/// Files that are compressed with gzip or zstd are decompressed; other formats are an error. So are, at
/// the end, lines that are not UTF-8 text and are left out, and a file of the archive that has fewer
/// lines than its journal says. A line belongs to the hour in which it is read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Paths of the files, in the order in which they are read.
    #[schemars(length(min = 1))]
    #[serde(deserialize_with = "path_text::deserialize")]
    pub paths: Vec<PathBuf>,
    /// Topics of the messages. The jsonl sink names its files after a single topic.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Selector of the topic in a message.
    #[serde(default)]
    pub topic_pointer: Option<Selector>,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{}` (`paths`)", path.display())]
struct FileReadError {
    path: PathBuf,
    source: io::Error,
}

/// Lines that were left out of what was read.
#[derive(Debug, thiserror::Error)]
#[error("{count} lines are left out, since they are not UTF-8 text: the first is line {line} of `{}` (`paths`); convert the file, such as with `iconv`", path.display())]
struct LinesLeftOut {
    count: u64,
    path: PathBuf,
    line: u64,
}

impl SourceConfig for FileConfig {
    const TYPE: &'static str = "file";

    fn example() -> Value {
        json!({ "paths": ["output/publicTrade.BTCUSDT_1700000000.jsonl.zst"], "topics": ["publicTrade.BTCUSDT"] })
    }

    fn topics(&self) -> &[String] {
        &self.topics
    }

    fn topic_selector(&self) -> Option<Selector> {
        self.topic_pointer.clone()
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        if self.paths.is_empty() {
            return Err("`paths` is empty; name at least one file".into());
        }
        for path in &self.paths {
            check_readable(path).map_err(|source| FileReadError { path: path.clone(), source })?;
        }
        let stats = Arc::clone(&context.stats);
        let unread = self.paths.clone().into();
        let left_out = None;
        Ok(Box::new(FileSource { paths: self.paths, unread, current: None, left_out, stats }))
    }
}

struct FileSource {
    paths: Vec<PathBuf>,
    /// Files that are still to be opened.
    unread: VecDeque<PathBuf>,
    /// Present from the first connect on.
    current: Option<OpenFile>,
    /// Lines that were left out of the files before.
    left_out: Option<LinesLeftOut>,
    stats: Arc<PipelineStats>,
}

/// A file that is being read.
struct OpenFile {
    path: PathBuf,
    reader: LineReader,
}

impl OpenFile {
    fn open(path: PathBuf, stats: Arc<PipelineStats>) -> Result<Self, SourceError> {
        let open = || -> io::Result<LineReader> {
            let decoded = open_decoded(&path)?;
            let reader = RecordedReader::new(decoded, recorded_bytes(&path));
            LineReader::spawn(reader, || true, stats)
        };
        match open() {
            Ok(reader) => Ok(Self { path, reader }),
            Err(source) => Err(fatal_read_error(path, source)),
        }
    }
}

/// A reader of a file of the archive, which knows how many bytes of lines there are.
struct RecordedReader {
    inner: Box<dyn Read + Send>,
    read: u64,
    /// Number of bytes that the journal beside the file records; 0 where there is none.
    recorded: u64,
}

impl RecordedReader {
    fn new(inner: Box<dyn Read + Send>, recorded: Option<u64>) -> Self {
        Self { inner, read: 0, recorded: recorded.unwrap_or(0) }
    }
}

impl Read for RecordedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if read == 0 && !buffer.is_empty() && self.read < self.recorded {
            let words = format!(
                "it has {} bytes of lines, and its journal says that there were {}: it was cut off; restore it from a copy",
                self.read, self.recorded
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        Ok(read)
    }
}

impl FileSource {
    /// Opens the next file. Fails with [`SourceError::Ended`] after the last one, or with an error if
    /// lines were left out.
    fn open_next(&mut self) -> Result<(), SourceError> {
        if let Some(OpenFile { path, reader }) = self.current.take() {
            self.count_left_out(path, reader.left_out());
        }
        let Some(path) = self.unread.pop_front() else {
            let left_out = self.left_out.take();
            return Err(left_out.map_or(SourceError::Ended, |it| SourceError::Fatal(it.into())));
        };
        self.current = Some(OpenFile::open(path, Arc::clone(&self.stats))?);
        Ok(())
    }

    fn count_left_out(&mut self, path: PathBuf, LeftOut { count, first_line }: LeftOut) {
        if count > 0 {
            let first = LinesLeftOut { count: 0, path, line: first_line };
            self.left_out.get_or_insert(first).count += count;
        }
    }
}

fn fatal_read_error(path: PathBuf, source: io::Error) -> SourceError {
    SourceError::Fatal(FileReadError { path, source }.into())
}

#[async_trait]
impl Source for FileSource {
    fn endpoint(&self) -> String {
        match self.paths.as_slice() {
            [] => "no files".to_owned(),
            [path] => path.display().to_string(),
            [first, others @ ..] => format!("{} and {} more", first.display(), others.len()),
        }
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        self.open_next()?;
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        loop {
            let Some(file) = &mut self.current else {
                return Err(SourceError::Fatal("the file is read before it is opened".into()));
            };
            match file.reader.read_lines(batch).await {
                Ok(()) => return Ok(()),
                Err(ReadEnd::Eof) => self.open_next()?,
                Err(ReadEnd::Failed(source)) => {
                    return Err(fatal_read_error(file.path.clone(), source));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_without_a_connect_is_not_taken_for_the_end_of_the_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config =
            serde_json::from_value::<FileConfig>(json!({ "paths": [file.path()] })).unwrap();
        let context = BuildContext::new(Vec::new(), Arc::default(), 1);
        let mut source = config.build(&context).unwrap();
        let mut batch = Batch::new();
        assert!(matches!(
            source.read(&mut batch, &mut Vec::new()).await,
            Err(SourceError::Fatal(_))
        ));
        source.connect().await.unwrap();
        assert!(matches!(source.read(&mut batch, &mut Vec::new()).await, Err(SourceError::Ended)));
    }
}
