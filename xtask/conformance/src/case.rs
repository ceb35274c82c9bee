//! One case of the suite: a recorder, and the proxy between it and the suite.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::echo::{Echo, EchoGate, SharedWriter};
use crate::message_decoder::{CLOSE, MessageDecoder, find_head_end, split_frame};
use crate::recorded_lines::RecordedLines;
use crate::suite::{AGENT, Suite};

/// Time within which the recorder connects.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Time without a byte of the suite after which a case is given up. The suite itself waits for less.
const SILENCE_LIMIT: Duration = Duration::from_secs(150);

/// The recorder of a case, which is killed when this is dropped.
struct Recorder(Child);

/// Runs a case. Returns what is wrong with the recording, if anything is.
pub(crate) fn run_case(suite: &Suite, binary: &Path, case: u32) -> Result<Option<String>> {
    let dir = suite.scratch.path().join(case.to_string());
    fs::create_dir(&dir)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("ws://{}/runCase?case={case}&agent={AGENT}", listener.local_addr()?);
    let config = write_config(&dir, &url)?;
    let log = fs::File::create(dir.join("output.log"))?;
    let recorder = Command::new(binary)
        .args(["run", "-config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the recorder")?;
    let mut recorder = Recorder(recorder);
    let client = recorder.accept(&listener)?;
    // The recorder connects again after the case, and is refused.
    drop(listener);
    let server = TcpStream::connect(&suite.address)?;
    let archive = dir.join("archive");
    let echo = relay(&client, &server, RecordedLines::new(&archive))?;
    recorder.stop()?;
    let fault = check_recording(&archive, echo)?;
    if fault.is_none() {
        fs::remove_dir_all(&dir)?;
    }
    Ok(fault)
}

fn write_config(dir: &Path, url: &str) -> Result<PathBuf> {
    let source = json!({
        "type": "websocket", "url": url, "profile": "generic", "topics": [], "subscribe": null,
        "ping": null, "topic_pointer": null, "read_pacing": 0, "idle_timeout": "2m",
        "proxy": "none",
    });
    let keys = json!({
        "source": source, "sinks": [{ "type": "jsonl", "output_dir": dir.join("archive"), "stem": AGENT }],
        "log_file": dir.join("log"), "status_socket": dir.join("socket"),
    });
    let path = dir.join("config.json");
    fs::write(&path, serde_json::to_string_pretty(&keys)?)?;
    Ok(path)
}

/// Passes on the bytes of both sides until both have closed, and echoes the recorded messages.
fn relay(client: &TcpStream, server: &TcpStream, lines: RecordedLines) -> Result<Echo> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SILENCE_LIMIT))?;
    }
    // The recorder may be silent for the whole case; it closes when the server does.
    server.set_read_timeout(Some(SILENCE_LIMIT))?;
    let (mut to_client, mut from_client) = (client.try_clone()?, client.try_clone()?);
    let mut from_server = server.try_clone()?;
    let to_server = SharedWriter::new(server.try_clone()?);
    let own_address = client.local_addr()?.to_string();
    let suite_address = server.peer_addr()?.to_string();
    let (messages, incoming) = channel();
    let gate = EchoGate::default();
    std::thread::scope(|scope| {
        let downstream = scope.spawn(|| -> Result<()> {
            let mut head = Vec::new();
            let mut decoder = None;
            let mut block = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from_server.read(&mut block) {
                let bytes = block.get(..count).unwrap_or_default();
                let mut frames = bytes.to_vec();
                if decoder.is_none() {
                    head.extend_from_slice(bytes);
                    frames.clear();
                    if let Some(end) = find_head_end(&head) {
                        frames = head.split_off(end);
                        let head = String::from_utf8_lossy(&head);
                        if !head.starts_with("HTTP/1.1 101 ") {
                            bail!("the suite refused the handshake: {head}");
                        }
                        decoder = Some(MessageDecoder::for_response(&head));
                    }
                }
                let decoded = decoder.as_mut().map(|decoder| decoder.feed(&frames));
                for message in decoded.into_iter().flatten() {
                    gate.expect_one();
                    messages.send(message)?;
                }
                if to_client.write_all(bytes).is_err() {
                    break;
                }
            }
            drop(messages);
            // The other side may have closed already.
            drop(to_client.shutdown(Shutdown::Write));
            Ok(())
        });
        let echo = scope.spawn(|| Echo::run(incoming, lines, &to_server, &gate));
        let mut input = Vec::new();
        let mut is_head_sent = false;
        let mut block = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut block) {
            input.extend_from_slice(block.get(..count).unwrap_or_default());
            if !is_head_sent {
                let Some(end) = find_head_end(&input) else { continue };
                let rest = input.split_off(end);
                // The suite refuses a `Host` that is not its own address.
                let head = String::from_utf8_lossy(&input);
                to_server.write(head.replace(&own_address, &suite_address).as_bytes());
                input = rest;
                is_head_sent = true;
            }
            while let Some(frame) = split_frame(&mut input) {
                if frame.opcode == CLOSE {
                    // An echo behind the close frame would not be an answer any more.
                    gate.wait_until_idle();
                }
                to_server.write(&frame.wire);
            }
        }
        gate.wait_until_idle();
        to_server.shutdown();
        let failed = |_| anyhow::anyhow!("a thread of the proxy failed");
        downstream.join().map_err(failed)??;
        echo.join().map_err(failed)
    })
}

impl Recorder {
    /// Waits for the recorder's connection.
    fn accept(&mut self, listener: &TcpListener) -> Result<TcpStream> {
        listener.set_nonblocking(true)?;
        let deadline = Instant::now() + CONNECT_LIMIT;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("the recorder does not start ({status})");
            }
            if Instant::now() > deadline {
                bail!("the recorder does not connect");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(&mut self) -> Result<()> {
        Command::new("kill").args(["-s", "TERM", &self.0.id().to_string()]).status()?;
        let status = self.0.wait()?;
        if !status.success() {
            bail!("the recorder failed ({status})");
        }
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // After a stop the process has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Checks after the end that the archive holds nothing but what was echoed, and that the journal
/// accounts for every message that is not text.
fn check_recording(archive: &Path, mut echo: Echo) -> Result<Option<String>> {
    if let Some(line) = echo.lines.take() {
        let line = String::from_utf8_lossy(&line).chars().take(80).collect::<String>();
        return Ok(Some(format!("a line was recorded that was not sent: `{line}`")));
    }
    let mut accounted = 0;
    for entry in fs::read_dir(archive)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            let text = fs::read_to_string(&path)?;
            for line in text.lines() {
                let event: Value = serde_json::from_str(line)?;
                if event.get("cause").and_then(Value::as_str) == Some("undecodable") {
                    accounted += event.get("messages").and_then(Value::as_u64).unwrap_or(0);
                }
            }
        }
    }
    if accounted < echo.undecodable {
        let sent = echo.undecodable;
        return Ok(Some(format!("{sent} binary messages were sent, the journal has {accounted}")));
    }
    Ok(echo.fault.take())
}
