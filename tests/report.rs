//! The output of `streamer report` in a pipe, in a terminal and in a browser.

use std::fs;

use crate::harness::{Server, Test, run, tool};

/// Records an archive with an outage whose cause contains markup, and a stop.
fn record_archive() -> Test {
    let server = Server::start(|number, peer| {
        peer.accept_subscription();
        peer.send_text("{\"topic\":\"t\"}");
        if number == 0 {
            peer.send_frame(0x88, b"\x03\xE9<script>document.title='owned'</script>");
            peer.wait_for_end();
        } else {
            peer.answer_until_end();
        }
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(2);
    recorder.stop();
    test
}

#[test]
fn a_pipe_gets_plain_text() {
    let test = record_archive();
    let output = run(&["report", "-config", test.config().to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains('\x1b'), "{text}");
    assert!(text.contains("publicTrade.BTCUSDT\n1 hours, 0 of them complete"), "{text}");
    assert!(text.contains("2 messages") && text.contains("# complete"), "{text}");
    assert!(text.contains("down") && text.contains("code 1001: <script>"), "{text}");
    let nothing =
        run(&["report", "--to", "2020-01-01", "-config", test.config().to_str().unwrap()]);
    assert_eq!(nothing.stdout, b"there is nothing to report\n");
}

#[test]
fn a_terminal_gets_colors() {
    let Some(mut script) = tool("script") else { return };
    let test = record_archive();
    let command =
        format!("{} report -config {}", env!("CARGO_BIN_EXE_streamer"), test.config().display());
    let output = script.args(["-qec", &command, "/dev/null"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\x1b[38;5;"), "{text}");
}

#[test]
fn a_browser_shows_the_page_without_further_files() {
    let test = record_archive();
    let page = test.path("report.html");
    let config = test.config();
    let arguments =
        ["report", "--html", page.to_str().unwrap(), "-config", config.to_str().unwrap()];
    let output = run(&arguments);
    assert!(output.status.success());
    let text = fs::read_to_string(&page).unwrap();
    assert!(!text.contains("<script") && !text.contains("http"), "nothing from elsewhere");
    let Some(mut browser) = tool("chromium-headless-shell") else { return };
    let url = format!("file://{}", page.display());
    let dom = browser.args(["--no-sandbox", "--disable-gpu", "--dump-dom", &url]).output().unwrap();
    let dom = String::from_utf8(dom.stdout).unwrap();
    // The document has a table of hours, and shows the markup of the server as text.
    let cells = dom.matches("<td class=\"").count();
    assert!(cells > 0 && cells.is_multiple_of(24) && dom.contains("title=\""), "{dom}");
    assert!(dom.contains("&lt;script&gt;document.title='owned'&lt;/script&gt;"), "{dom}");
    assert!(dom.contains("<title>Archive, "), "{dom}");
    let picture = test.path("report.png");
    let Some(mut browser) = tool("chromium-headless-shell") else { return };
    let screenshot = format!("--screenshot={}", picture.display());
    let size = "--window-size=1200,800";
    assert!(
        browser.args(["--no-sandbox", size, &screenshot, &url]).output().unwrap().status.success()
    );
    assert!(fs::metadata(picture).unwrap().len() > 10_000);
}

#[test]
fn a_page_that_cannot_be_written_is_named_in_the_error() {
    let test = record_archive();
    let config = test.config();
    let output =
        run(&["report", "--html", "/nonexistent/r.html", "-config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/r.html"));
}
