//! The echo of the recorded messages.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::message_decoder::Message;
use crate::recorded_lines::RecordedLines;

/// The connection to the suite, which the frames of the recorder and the echoes share.
pub(crate) struct SharedWriter(Mutex<TcpStream>);

impl SharedWriter {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Writes whole frames. The suite may have closed the connection: its verdict tells.
    pub(crate) fn write(&self, bytes: &[u8]) {
        drop(self.lock().write_all(bytes));
    }

    pub(crate) fn shutdown(&self) {
        drop(self.lock().shutdown(Shutdown::Write));
    }

    fn lock(&self) -> MutexGuard<'_, TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of messages that are still to be echoed.
#[derive(Default)]
pub(crate) struct EchoGate {
    pending: Mutex<u64>,
    idle: Condvar,
}

impl EchoGate {
    pub(crate) fn expect_one(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn finish_one(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        *pending -= 1;
        if *pending == 0 {
            self.idle.notify_all();
        }
    }

    /// Waits until every message is echoed or given up.
    pub(crate) fn wait_until_idle(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        while *pending > 0 {
            pending = self.idle.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The result of the echoes of a case.
pub(crate) struct Echo {
    pub(crate) lines: RecordedLines,
    /// Number of messages that are no text, for which the recording has no line.
    pub(crate) undecodable: u64,
    /// The first difference between what was sent and what was recorded.
    pub(crate) fault: Option<String>,
}

impl Echo {
    /// Echoes every message once it is recorded, until there are no more messages.
    pub(crate) fn run(
        messages: Receiver<Message>,
        lines: RecordedLines,
        suite: &SharedWriter,
        gate: &EchoGate,
    ) -> Self {
        let mut echo = Self { lines, undecodable: 0, fault: None };
        for message in messages {
            if let Some(payload) = echo.recorded_payload(&message) {
                suite.write(&to_frame(message.is_binary, &payload));
            }
            gate.finish_one();
        }
        echo
    }

    /// Returns what the recording has of a message; `None` if it has nothing.
    fn recorded_payload(&mut self, message: &Message) -> Option<Vec<u8>> {
        if !message.is_text() {
            // Text that is not UTF-8 is an invalid stream: nothing of it may be recorded.
            self.undecodable += u64::from(message.is_binary);
            return message.is_binary.then(|| message.payload.clone());
        }
        let line = self.lines.wait();
        let expected = to_line(&message.payload);
        if line.as_ref() == Some(&expected) {
            // The line lacks the line breaks of the message, which are folded by design.
            return Some(message.payload.clone());
        }
        let length = message.payload.len();
        let what = match &line {
            Some(line) => format!("became a line of {} bytes that differs", line.len()),
            None => "was not recorded".to_owned(),
        };
        self.fault.get_or_insert(format!("a message of {length} bytes {what}"));
        line
    }
}

/// Returns the line of a message: a line break within it becomes spaces, byte by byte.
fn to_line(payload: &[u8]) -> Vec<u8> {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let runs = payload.chunk_by(|a, b| is_break(a) == is_break(b));
    let lines = runs.map(|run| {
        let is_folded = run.iter().all(is_break) && run.contains(&b'\n');
        if is_folded { vec![b' '; run.len()] } else { run.to_vec() }
    });
    lines.collect::<Vec<_>>().concat()
}

/// Returns a frame of a client, with a mask that changes nothing (RFC 6455, 5.2).
fn to_frame(is_binary: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if is_binary { 0x82 } else { 0x81 }];
    let length = payload.len() as u64;
    let length_bytes = length.to_be_bytes();
    // The shortest form of the length is required.
    let (marker, start) = match length {
        ..=125 => (None, 7),
        126..=0xFFFF => (Some(0xFE), 6),
        _ => (Some(0xFF), 0),
    };
    frame.extend(marker);
    frame.extend_from_slice(length_bytes.split_at(start).1);
    if marker.is_none() {
        // The bit of the mask, beside a length of one byte.
        frame.last_mut().into_iter().for_each(|byte| *byte |= 0x80);
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message_decoder::split_frame;

    #[test]
    fn line_breaks_are_folded_and_lone_carriage_returns_kept() {
        assert_eq!(to_line(b"a\r\r\nb\n\rc\rd\n"), b"a   b  c\rd ");
    }

    #[test]
    fn frames_of_every_form_of_length_are_read_back() {
        for (length, header) in [(0, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            let payload = vec![b'x'; length];
            let mut wire = to_frame(false, &payload);
            assert_eq!(wire.len(), length + header);
            let frame = split_frame(&mut wire).unwrap();
            assert!(frame.is_final && frame.opcode == 1 && frame.payload == payload);
        }
    }
}
