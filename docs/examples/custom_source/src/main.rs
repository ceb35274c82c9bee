//! A recorder with a source of its own: lines of a TCP server.
//!
//! The client sends `subscribe TOPIC`, and the server answers each with `ok TOPIC` or with
//! `no TOPIC REASON`. Every other line of the server is a message.
//!
//! ```console
//! $ cargo run -p custom-source -- run -config docs/examples/custom_source/config.json
//! ```

use std::process::ExitCode;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streamer::plugin::{ConnectionEvent, Disconnect, DownCause, Subscription};
use streamer::{Batch, BoxError, BuildContext, Registry, Source, SourceConfig, SourceError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest line, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Reads lines of a TCP server.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TcpLinesConfig {
    /// Host and port of the server.
    address: String,
    /// Topics to subscribe to.
    topics: Vec<String>,
}

impl SourceConfig for TcpLinesConfig {
    const TYPE: &'static str = "tcp_lines";

    fn example() -> Value {
        json!({ "address": "127.0.0.1:7000", "topics": ["BTC"] })
    }

    fn topics(&self) -> &[String] {
        &self.topics
    }

    fn build(self, _: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        Ok(Box::new(TcpLines { config: self, stream: None, buffer: Vec::new(), unanswered: 0 }))
    }
}

struct TcpLines {
    config: TcpLinesConfig,
    stream: Option<TcpStream>,
    /// Bytes that are read and not yet handed over: a read may be dropped while it waits.
    buffer: Vec<u8>,
    /// Number of topics that the server has not answered.
    unanswered: usize,
}

impl TcpLines {
    /// Moves the complete lines out of the buffer. Returns whether there were any.
    fn take_lines(&mut self, batch: &mut Batch, events: &mut Vec<ConnectionEvent>) -> bool {
        let Some(end) = self.buffer.iter().rposition(|byte| *byte == b'\n') else { return false };
        let lines: Vec<u8> = self.buffer.drain(..=end).collect();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match self.parse_answer(line) {
                Some(event) => {
                    events.push(event);
                    self.unanswered -= 1;
                    if self.unanswered == 0 {
                        events.extend([ConnectionEvent::Subscribed, ConnectionEvent::Delivering]);
                    }
                }
                None => drop(batch.push(line)),
            }
        }
        true
    }

    /// Returns the event that follows from a line, if the line is an answer that is awaited.
    fn parse_answer(&self, line: &[u8]) -> Option<ConnectionEvent> {
        let text = str::from_utf8(line).ok().filter(|_| self.unanswered > 0)?;
        let (word, rest) = text.split_once(' ')?;
        let (topic, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let topic = topic.to_owned();
        match word {
            "ok" => Some(ConnectionEvent::TopicsActive(vec![topic])),
            "no" => {
                let (cause, detail) = (DownCause::Refused, reason.to_owned());
                Some(ConnectionEvent::TopicDown { topic, cause, detail, silent_for: None })
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Source for TcpLines {
    fn endpoint(&self) -> String {
        self.config.address.clone()
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        let lost = |cause| move |error: std::io::Error| Disconnect::new(cause, error.to_string());
        let connected = TcpStream::connect(&self.config.address).await;
        let mut stream = connected.map_err(lost(DownCause::Connect))?;
        for topic in &self.config.topics {
            let request = format!("subscribe {topic}\n");
            stream.write_all(request.as_bytes()).await.map_err(lost(DownCause::Io))?;
        }
        self.stream = Some(stream);
        self.buffer.clear();
        self.unanswered = self.config.topics.len();
        Ok(if self.unanswered == 0 { Subscription::Complete } else { Subscription::Pending })
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        while !self.take_lines(batch, events) {
            let Some(stream) = &mut self.stream else {
                return Err(Disconnect::new(DownCause::Other, "not connected").into());
            };
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(Disconnect::new(DownCause::TooLarge, "a line without an end").into());
            }
            match stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(Disconnect::new(DownCause::Eof, "the server ended it").into()),
                Ok(_) => {}
                Err(error) => return Err(Disconnect::new(DownCause::Io, error.to_string()).into()),
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    streamer::cli::main(Registry::builtin().source::<TcpLinesConfig>())
}
