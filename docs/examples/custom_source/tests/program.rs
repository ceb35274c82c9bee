//! An end-to-end test of the program with a server.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn lines_are_recorded_and_answers_are_gaps_of_topics() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let text = serde_json::json!({
        "source": {
            "type": "tcp_lines",
            "address": listener.local_addr().unwrap().to_string(),
            "topics": ["BTC", "XYZ"],
        },
        "sinks": [{ "type": "jsonl", "output_dir": dir.path(), "stem": "all" }],
        "status_socket": null,
        "log_file": null,
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_custom-source"));
    program.args(["run", "-config", config.to_str().unwrap()]).stderr(Stdio::piped());
    let mut running = program.spawn().unwrap();

    let (mut peer, _) = listener.accept().unwrap();
    let requests: Vec<String> =
        BufReader::new(peer.try_clone().unwrap()).lines().take(2).map(Result::unwrap).collect();
    assert_eq!(requests, ["subscribe BTC", "subscribe XYZ"]);
    peer.write_all(b"ok BTC\n{\"BTC\":1}\nno XYZ not listed\n{\"BTC\":2}\n").unwrap();
    // The next connection comes when the end of this one is noticed, behind its messages.
    drop(peer);
    let (_second, _) = listener.accept().unwrap();
    Command::new("kill").arg(running.id().to_string()).status().unwrap();
    assert!(running.wait().unwrap().success());

    let read = |extension: &str| {
        let mut paths = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let path = paths.find(|path| path.extension().is_some_and(|is| is == extension)).unwrap();
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(read("jsonl"), "{\"BTC\":1}\n{\"BTC\":2}\n");
    let journal = read("journal");
    let refused = "\"event\":\"topic_down\",\"topic\":\"XYZ\",\"cause\":\"refused\"";
    assert!(journal.contains(refused) && journal.contains("\"cause\":\"eof\""), "{journal}");
}
