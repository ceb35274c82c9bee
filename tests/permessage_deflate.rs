//! Messages that servers of other projects compress with permessage-deflate (RFC 7692).

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;

use crate::harness::{Server, TOPIC, Test, node_with_ws, python_with};

/// A server that sends the lines of a file, some of them in several frames. It prints its port and
/// the extension that was agreed on.
const PYTHON: &str = r#"
import pathlib, sys
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.sync.server import serve
lines = pathlib.Path(sys.argv[1]).read_bytes().decode().split("\n")[:-1]
offer = ServerPerMessageDeflateFactory(server_no_context_takeover=sys.argv[2] == "fresh")
def talk(peer):
    print([str(extension) for extension in peer.protocol.extensions], flush=True)
    peer.recv()
    for number, line in enumerate(lines):
        half = len(line) // 2
        peer.send([line[:half], line[half:]] if number % 7 == 0 and half else line)
    for _ in peer:
        pass
with serve(talk, "127.0.0.1", 0, compression=None, extensions=[offer]) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
"#;

/// The same server for Node.js.
const NODE: &str = r#"
const fs = require("fs");
const { WebSocketServer } = require("ws");
const lines = fs.readFileSync(process.argv[1], "utf8").split("\n").slice(0, -1);
const fresh = process.argv[2] === "fresh";
const server = new WebSocketServer({
  host: "127.0.0.1", port: 0,
  perMessageDeflate: { threshold: 0, serverNoContextTakeover: fresh, serverMaxWindowBits: 11 },
});
server.on("listening", () => console.log(server.address().port));
server.on("connection", (peer) => {
  console.log(peer.extensions);
  peer.once("message", () => lines.forEach((line, number) => {
    const half = line.length >> 1;
    if (number % 7 == 0 && half) {
      peer.send(line.slice(0, half), { fin: false });
      peer.send(line.slice(half));
    } else peer.send(line, { compress: number % 11 != 0 });
  }));
});
"#;

struct Program {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    fn line(&mut self) -> String {
        self.output.next().expect("the server has ended").unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns lines that compress well, badly and not at all; long, short and empty ones.
fn lines() -> String {
    let mut lines = String::new();
    for number in 0..2_000_u64 {
        let digits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let line = match number % 50 {
            1 => String::new(),
            2 => "\u{20AC} \u{1F980}".repeat(number as usize % 90),
            3 => format!("{{\"n\":{number},\"pad\":\"{}\"}}", "ab".repeat(40_000)),
            _ => json!({ "topic": TOPIC, "n": number, "p": digits.to_string() }).to_string(),
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

fn assert_recorded(command: Option<Command>, script: [&str; 2], context: &str, agreed: &str) {
    let Some(mut command) = command else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    let lines = lines();
    std::fs::write(&path, &lines).unwrap();
    command.args(script).arg(&path).arg(context);
    let mut server = Program::start(command);
    let url = format!("ws://127.0.0.1:{}", server.line());
    let test = Test::with_source(&url, json!({ "topics": [TOPIC], "deflate": "auto" }));
    let recorder = test.start();
    let agreed_on = server.line();
    assert!(agreed_on.to_lowercase().contains(agreed), "{agreed_on}");
    recorder.wait_for_messages(2_000);
    recorder.stop();
    assert!(test.recorded() == lines.as_bytes(), "what was recorded is not what was sent");
}

#[test]
fn messages_compressed_by_the_python_websockets_library_are_recorded() {
    for context in ["kept", "fresh"] {
        assert_recorded(python_with("websockets"), ["-c", PYTHON], context, "permessagedeflate");
    }
}

#[test]
fn messages_compressed_by_the_node_ws_library_are_recorded() {
    for context in ["kept", "fresh"] {
        assert_recorded(node_with_ws(), ["-e", NODE], context, "permessage-deflate");
    }
}

#[test]
fn an_extension_that_was_not_offered_is_refused() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.send_note(peer.header("Sec-WebSocket-Extensions").unwrap_or("nothing").to_owned());
        let answer = String::from_utf8(peer.handshake_response()).unwrap();
        let head = answer.trim_end();
        let extension = "Sec-WebSocket-Extensions: permessage-deflate";
        peer.send(format!("{head}\r\n{extension}\r\n\r\n").as_bytes());
        peer.wait_for_end();
    });
    let test = Test::with_source(&server.url(), json!({ "deflate": "off" }));
    let recorder = test.start();
    assert_eq!(server.next_note(), "nothing");
    let status = recorder.wait_until(|status| !status["last_error"].is_null());
    let error = status["last_error"].to_string();
    assert!(error.contains("handshake") && error.contains("was not offered"), "{error}");
}

#[test]
fn a_message_that_inflates_beyond_the_limit_ends_the_connection() {
    let server = Server::start(|number, peer| {
        peer.read_request();
        let answer = String::from_utf8(peer.handshake_response()).unwrap();
        let head = answer.trim_end();
        let extension = "Sec-WebSocket-Extensions: permessage-deflate";
        peer.send(format!("{head}\r\n{extension}\r\n\r\n").as_bytes());
        let text = vec![b'x'; if number == 0 { 8 << 20 } else { 1_000 }];
        let mut packer = flate2::Compress::new(flate2::Compression::best(), false);
        let mut packed = Vec::with_capacity(1 << 20);
        packer.compress_vec(&text, &mut packed, flate2::FlushCompress::Sync).unwrap();
        packed.truncate(packed.len() - 4);
        peer.send_frame(0xC1, &packed);
        peer.answer_until_end();
    });
    let keys = json!({ "deflate": "auto", "max_message_size": "1MiB" });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let status = recorder.status();
    assert_eq!(status["disconnects"]["too_large"], 1, "{status}");
    assert_eq!(test.recorded().len(), 1_001);
}
