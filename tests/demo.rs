//! The command `demo`.

use crate::harness::run;

/// Returns what `streamer cat` prints for the directory of a sealed file.
fn lines_of(file: &std::path::Path) -> Vec<u8> {
    assert!(file.exists());
    run(&["cat", "--dir", file.parent().unwrap().to_str().unwrap()]).stdout
}

#[test]
fn the_demo_records_compares_and_reports_the_sealed_file() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        run(&["demo", "-seconds", "2", "--rate", "3000", "--dir", dir.path().to_str().unwrap()]);
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{words}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(words.contains("over 2 connections") && words.contains("byte for byte"), "{words}");
    let gap = words.lines().find(|line| line.starts_with("Accounted ")).unwrap();
    assert!(gap.contains(" down for 0.") && gap.contains(": eof: the server ended"), "{words}");
    let sealed = words.lines().find(|line| line.starts_with("Sealed ")).unwrap();
    let file = std::path::Path::new(sealed.rsplit_once(": ").unwrap().1);
    let lines = lines_of(file);
    assert!(lines.starts_with(b"{\"success\":true"), "{words}");
}

#[test]
fn a_port_in_use_is_named_in_the_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["demo", "--serve", &address]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains(&address) && words.contains("in use"), "{words}");
}
