//! Lines of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::line_reader::{LineReader, ReadEnd};
use crate::base::json::Selector;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Source, SourceConfig, SourceError};

/// Every line of the files is a message, one file after the other; then the pipeline ends.
///
/// A file whose name ends in `.zst` is decompressed. Lines are filed under the hour in which they are
/// read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The files, in the order in which they are read.
    #[schemars(length(min = 1))]
    pub paths: Vec<PathBuf>,
    /// What the messages are of. The jsonl sink names its files after a single topic.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Where a message says what its topic is.
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
            File::open(path)
                .and_then(|file| {
                    if file.metadata()?.is_dir() {
                        Err(io::ErrorKind::IsADirectory.into())
                    } else {
                        Ok(())
                    }
                })
                .map_err(|source| FileReadError { path: path.clone(), source })?;
        }
        let stats = Arc::clone(&context.stats);
        Ok(Box::new(FileSource { paths: self.paths, current: 0, reader: None, stats }))
    }
}

struct FileSource {
    paths: Vec<PathBuf>,
    /// The file that is read.
    current: usize,
    reader: Option<LineReader>,
    stats: Arc<PipelineStats>,
}

impl FileSource {
    fn open_current(&mut self) -> Result<(), SourceError> {
        let Some(path) = self.paths.get(self.current) else { return Err(SourceError::Ended) };
        let opened = || -> io::Result<LineReader> {
            let file = File::open(path)?;
            let reader: Box<dyn Read + Send> = if path.extension().is_some_and(|e| e == "zst") {
                Box::new(zstd::Decoder::new(file)?)
            } else {
                Box::new(file)
            };
            LineReader::spawn(reader, || true, Arc::clone(&self.stats))
        };
        let reading = opened().map_err(|source| fatal_read_error(path.clone(), source))?;
        self.reader = Some(reading);
        Ok(())
    }
}

fn fatal_read_error(path: PathBuf, source: io::Error) -> SourceError {
    SourceError::Fatal(FileReadError { path, source }.into())
}

#[async_trait]
impl Source for FileSource {
    fn endpoint(&self) -> String {
        let first = self.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        match self.paths.len() {
            0 | 1 => first,
            more => format!("{first} and {} more", more - 1),
        }
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.open_current()
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        loop {
            let Some(reading) = &mut self.reader else { return Err(SourceError::Ended) };
            match reading.read_lines(batch).await {
                Ok(()) => return Ok(()),
                Err(ReadEnd::Eof) => {
                    self.current += 1;
                    self.open_current()?;
                }
                Err(ReadEnd::Failed(error)) => {
                    let path = self.paths.get(self.current).cloned().unwrap_or_default();
                    return Err(fatal_read_error(path, error));
                }
            }
        }
    }
}
