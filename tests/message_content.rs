//! Every message becomes one line, whatever its content is.

use std::io::Read;

use flate2::Compression;
use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use crate::harness::{Server, Test, frame};

/// Sends frames after the subscription. Returns the test, the recorded bytes and the last status.
fn record(
    frames: Vec<(u8, Vec<u8>)>,
    messages: u64,
    keys: serde_json::Value,
) -> (Test, Vec<u8>, serde_json::Value) {
    let server = Server::start(move |_, peer| {
        peer.accept_subscription();
        for (first, payload) in &frames {
            peer.send_frame(*first, payload);
        }
        peer.answer_until_end();
    });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    recorder.wait_for_messages(messages);
    let status = recorder.status();
    recorder.stop();
    let recorded = test.recorded();
    (test, recorded, status)
}

#[test]
fn any_text_is_recorded_verbatim_as_one_line() {
    let messages = [
        r#"{"quote":"\"","back":"\\"}"#,
        "",
        "not json at all",
        "\u{0}\u{1}\t\r\u{7f}",
        "ünï → 💶",
        r#"{"a":1,"a":2,"n":-0,"big":123456789012345678901234567890}"#,
        "\u{feff}bom",
    ];
    let frames = messages.iter().map(|text| (0x81, text.as_bytes().to_vec())).collect();
    let (_, recorded, _) = record(frames, 7, json!({}));
    assert_eq!(String::from_utf8(recorded).unwrap(), messages.join("\n") + "\n");
}

#[test]
fn line_feeds_become_spaces_and_are_counted() {
    let frames =
        vec![(0x81, b"{\n  \"a\": 1\n}".to_vec()), (0x81, b"{}".to_vec()), (0x81, b"\n".to_vec())];
    let (_, recorded, status) = record(frames, 3, json!({}));
    assert_eq!(recorded, b"{   \"a\": 1 }\n{}\n \n");
    assert_eq!(status["newlines_folded"], 3);
}

#[test]
fn a_message_with_windows_line_breaks_is_one_line_for_every_reader() {
    let pretty = "{\r\n  \"a\": [\r\n    1\r\n  ]\r\n}";
    let half = pretty.len() / 2 + 1;
    let frames = vec![
        (0x81, pretty.as_bytes().to_vec()),
        // A line break that is split between two frames.
        (0x01, pretty.as_bytes()[..2].to_vec()),
        (0x00, pretty.as_bytes()[2..half].to_vec()),
        (0x80, pretty.as_bytes()[half..].to_vec()),
        (0x82, b"{\r\n}".to_vec()),
        (0x81, b"alone\rit stays".to_vec()),
    ];
    let (_, recorded, status) = record(frames, 4, json!({}));
    let recorded = String::from_utf8(recorded).unwrap();
    let line = pretty.replace("\r\n", "  ");
    assert_eq!(recorded, format!("{line}\n{line}\n{{  }}\nalone\rit stays\n"));
    assert_eq!(status["newlines_folded"], 9);
}

#[test]
fn fragments_are_joined_and_pings_between_them_answered() {
    let frames = vec![
        (0x01, "{\"€".as_bytes()[..4].to_vec()),
        (0x89, b"are you there".to_vec()),
        (0x00, "{\"€".as_bytes()[4..].to_vec()),
        (0x80, b"\":1}".to_vec()),
        (0x81, b"next".to_vec()),
    ];
    let (_, recorded, _) = record(frames, 2, json!({}));
    assert_eq!(String::from_utf8(recorded).unwrap(), "{\"€\":1}\nnext\n");
}

#[test]
fn binary_text_is_written_and_other_binary_counted() {
    let frames = vec![
        (0x82, b"{\"binary\":true}".to_vec()),
        (0x82, vec![0xFF, 0xFE]),
        (0x81, b"last".to_vec()),
    ];
    let (test, recorded, status) = record(frames, 2, json!({}));
    assert_eq!(recorded, b"{\"binary\":true}\nlast\n");
    assert_eq!((&status["undecodable"], &status["feed_warning"]), (&json!(1), &Value::Null));
    assert_eq!(test.gaps(), ["dropped undecodable exact"]);
}

#[test]
fn a_feed_of_which_everything_is_left_out_says_so_in_log_and_status() {
    for (payload, binary, advice) in [
        (&[0xFF, 0xFE, 0][..], "none", "set `binary` to"),
        (&[0x1F, 0x8B, 8, 0], "none", "set `binary: \"gzip\"`"),
        (&[0x78, 0x9C, 0xFF], "none", "set `binary: \"deflate\"`"),
        (&[0xFF, 0xFE, 0], "gzip", "neither text nor whole gzip"),
        (&[0xFF, 0xFE, 0], "deflate", "neither text nor whole deflate or zlib"),
    ] {
        let server = Server::start(move |_, peer| {
            peer.accept_subscription();
            // All at once, so that one log line has them all.
            let answer = frame(0x81, br#"{"success":true,"op":"subscribe"}"#);
            peer.send(&[answer, frame(0x82, payload).repeat(50)].concat());
            peer.answer_until_end();
        });
        let test = Test::with_source(&server.url(), json!({ "binary": binary }));
        let recorder = test.start();
        let line = recorder.wait_for(&["left out", "messages=50"]);
        assert!(line.contains("WARN") && line.contains("what comes is left out"), "{line}");
        assert!(line.contains(advice), "{line}");
        let status = recorder.status();
        assert_eq!(status["undecodable"], 50);
        let warning = status["feed_warning"].as_str().unwrap();
        assert!(warning.contains("50 messages left out and 1 kept"), "{warning}");
        assert!(warning.contains(advice), "{warning}");
        let line = recorder.status_line();
        assert!(line.starts_with("Uptime: ") && line.contains(" | Warning: 50 messages"), "{line}");
        recorder.stop();
        assert_eq!(test.log().matches("left out:").count(), 1, "{}", test.log());
    }
}

#[test]
fn compressed_messages_are_decoded_where_the_configuration_says_so() {
    let text = "{\"ch\":\"market.btcusdt.trade.detail\",\n\"tick\":{}}";
    let mut gzip = Vec::new();
    GzEncoder::new(text.as_bytes(), Compression::default()).read_to_end(&mut gzip).unwrap();
    let frames = vec![(0x82, gzip), (0x81, b"last".to_vec())];
    let (_, recorded, status) = record(frames, 2, json!({ "binary": "gzip" }));
    assert_eq!(String::from_utf8(recorded).unwrap(), text.replace('\n', " ") + "\nlast\n");
    assert_eq!((&status["undecodable"], &status["newlines_folded"]), (&json!(0), &json!(1)));
}

#[test]
fn deflated_messages_are_decoded_with_and_without_a_header_even_if_they_are_ascii() {
    let text = r#"{"topic":"t","data":[1,1,1,1,1,1,1,1]}"#;
    let mut zlib = Vec::new();
    ZlibEncoder::new(text.as_bytes(), Compression::default()).read_to_end(&mut zlib).unwrap();
    let mut raw = Vec::new();
    DeflateEncoder::new(text.as_bytes(), Compression::default()).read_to_end(&mut raw).unwrap();
    // "ab" in raw deflate is ASCII.
    let ascii = b"\x4B\x4C\x02\x00".to_vec();
    let broken_off = raw[..raw.len() - 3].to_vec();
    let plain = vec![br#"{"plain":1}"#.to_vec(), b"pong".to_vec()];
    let sent = [vec![zlib, raw, ascii, broken_off], plain].concat();
    let mut frames: Vec<_> = sent.into_iter().map(|payload| (0x82, payload)).collect();
    frames.push((0x81, b"last".to_vec()));
    let (_, recorded, status) = record(frames, 6, json!({ "binary": "deflate" }));
    let recorded = String::from_utf8(recorded).unwrap();
    assert_eq!(recorded, format!("{text}\n{text}\nab\n{{\"plain\":1}}\npong\nlast\n"));
    assert_eq!(status["undecodable"], 1);
}

#[test]
fn a_line_of_64_mib_is_a_line() {
    let long = vec![b'x'; 64 << 20];
    let frames = vec![(0x81, long), (0x81, b"after".to_vec())];
    let (test, recorded, _) = record(frames, 2, json!({}));
    assert_eq!(recorded.len(), (64 << 20) + 1 + 6);
    assert!(recorded.ends_with(b"x\nafter\n"));
    assert_eq!(test.files().len(), 1);
}

#[test]
fn frames_sent_with_the_handshake_response_are_recorded() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        let mut answer = peer.handshake_response();
        answer.extend_from_slice(&b"\x81\x05early\x81\x04half"[..11]);
        peer.send(&answer);
        peer.send(b"lf");
        peer.answer_until_end();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(2);
    recorder.stop();
    assert_eq!(test.recorded(), b"early\nhalf\n");
}

#[test]
fn control_messages_are_written_or_skipped_as_configured() {
    let frames = || {
        vec![
            (0x81, br#"{"success":true,"ret_msg":"","op":"subscribe"}"#.to_vec()),
            (0x81, br#"{"topic":"t","data":[]}"#.to_vec()),
            (0x81, br#"{"success":true,"ret_msg":"pong","op":"ping"}"#.to_vec()),
            (0x81, b"last".to_vec()),
        ]
    };
    let (_, recorded, _) = record(frames(), 4, json!({}));
    assert_eq!(recorded.iter().filter(|byte| **byte == b'\n').count(), 4);
    let (_, recorded, status) = record(frames(), 2, json!({ "control": "skip" }));
    assert_eq!(String::from_utf8(recorded).unwrap(), "{\"topic\":\"t\",\"data\":[]}\nlast\n");
    assert_eq!(status["control_skipped"], 2);
}
