//! The names, modes and ends of the files of the output directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::harness::{Server, Test};

fn start_server() -> Server {
    Server::start(|number, peer| {
        peer.accept_subscription();
        peer.send_text(&format!("{{\"topic\":\"t\",\"n\":{number}}}"));
        peer.answer_until_end();
    })
}

#[test]
fn a_restart_in_the_same_hour_appends_and_keeps_a_torn_line_aside() {
    let server = start_server();
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.kill();
    let [file] = test.files().try_into().unwrap();
    let mut torn = fs::read(&file).unwrap();
    torn.extend_from_slice(b"{\"topic\":\"t\",\"n\":9");
    fs::write(&file, torn).unwrap();

    let recorder = test.start();
    recorder.wait_for(&["torn last line cut"]);
    recorder.wait_for_messages(1);
    recorder.stop();
    if let [file] = test.files().as_slice() {
        let expected = b"{\"topic\":\"t\",\"n\":0}\n{\"topic\":\"t\",\"n\":1}\n";
        assert_eq!(fs::read(file).unwrap(), expected);
        let kept = fs::read(file.with_extension("torn")).unwrap();
        assert_eq!(kept, b"{\"topic\":\"t\",\"n\":9\n");
    }
}

#[test]
fn names_and_modes_are_as_promised_and_no_file_is_made_before_its_first_message() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_note("subscribed");
        peer.read_text();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let keys = serde_json::json!({
        "topics": ["trade/XBT USD"],
        "ping": { "message": "now", "interval": "500ms" },
    });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    server.next_note();
    assert!(test.files().is_empty());
    recorder.wait_for_messages(1);
    recorder.stop();
    let [file] = test.files().try_into().unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let hour = name.strip_prefix("trade%2FXBT%20USD_").unwrap().strip_suffix(".jsonl").unwrap();
    assert_eq!(hour.parse::<u64>().unwrap() % 3600, 0);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file.as_path()) & !0o640, 0);
    assert_eq!(mode(test.output().as_path()) & !0o750, 0);
}

#[test]
fn a_second_recorder_for_a_directory_is_refused_with_the_pid_of_the_first() {
    let server = start_server();
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let second = Test::new(&server.url()).set("output_dir", test.output().to_str().into());
    let refused = second.run_refused();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains(&format!("pid {}", recorder.pid())), "{words}");
    assert!(words.contains(test.output().to_str().unwrap()), "{words}");
    assert!(!second.path("log").exists() && !second.path("socket").exists());
    recorder.stop();
}

#[test]
fn a_directory_that_cannot_be_created_is_named_in_the_error() {
    let test = Test::new("ws://127.0.0.1:1");
    fs::write(test.path("file"), "").unwrap();
    let below = test.path("file/output");
    let test = test.set("output_dir", below.to_str().into());
    let refused = test.run_refused();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains(below.to_str().unwrap()), "{words}");
    assert!(!test.path("socket").exists());
}

#[test]
fn the_configured_mode_holds_under_any_mask() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.send_text("bad");
        peer.answer_until_end();
    });
    for (mask, file_mode, directory_mode) in [("077", 0o664, 0o775), ("000", 0o600, 0o700)] {
        let test = Test::new(&server.url()).without("output_dir");
        let test = test.wrapped(&["sh", "-c", &format!("umask {mask}; exec \"$0\" \"$@\"")]);
        let dir = test.path("new/output");
        let sink = json!({ "type": "jsonl", "output_dir": dir,
            "file_mode": format!("{file_mode:04o}") });
        let test = test.set("sinks", json!([sink])).set("archive", json!({}));
        let test = test.set("stages", json!([{ "type": "validate", "on_error": "reject" }]));
        let recorder = test.start();
        recorder.wait_until(|status| status["messages"] == 1);
        recorder.stop();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&dir), directory_mode, "{mask}");
        assert_eq!(mode(dir.parent().unwrap()), directory_mode, "{mask}");
        let mut kinds = Vec::new();
        for entry in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            let is_lock = entry.file_name().unwrap().to_str().unwrap().starts_with('.');
            let expected = if is_lock { 0o640 } else { file_mode };
            assert_eq!(mode(&entry), expected, "{mask}: {}", entry.display());
            kinds.extend(entry.extension().map(|kind| kind.to_str().unwrap().to_owned()));
        }
        for kind in ["jsonl", "journal", "rejects"] {
            assert!(kinds.iter().any(|found| found == kind), "{kinds:?}");
        }
    }
}
