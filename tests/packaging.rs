//! What is installed: the unit of systemd, the package for Debian, the image of a container.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{BootedSystem, Server, run, tool};

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

#[test]
fn the_packaged_configurations_are_valid() {
    for name in ["config.json", "container.json"] {
        let output = run(&["check", "-config", packaging(name).to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_image_is_made_of_files_that_exist_and_runs_commands_that_exist() {
    let dockerfile = fs::read_to_string(packaging("Dockerfile")).unwrap();
    let instructions = |name: &str| {
        let lines = dockerfile.lines().filter_map(|line| line.trim_start().strip_prefix(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let copied = instructions("COPY packaging/");
    assert!(!copied.is_empty());
    for line in copied {
        let name = line.split_whitespace().next().unwrap();
        assert!(packaging(name).exists(), "{name}");
    }
    assert_eq!(instructions("FROM ").len(), 2, "two stages");
    assert_eq!(instructions("USER ").len(), 1, "not as root");
    let commands = instructions("CMD ");
    let [start, health] = commands.as_slice() else { panic!("two commands: {commands:?}") };
    let args = |command: &str| serde_json::from_str::<Vec<String>>(command).unwrap();
    let config = packaging("container.json").to_str().unwrap().to_owned();
    let with_config = |args: Vec<String>| -> Vec<String> {
        let own =
            |arg: String| if arg == "/etc/streamer/config.json" { config.clone() } else { arg };
        args.into_iter().map(own).collect()
    };
    assert_eq!(instructions("HEALTHCHECK ").len(), 1);
    assert_eq!(args(start)[0], "run");
    let health = with_config(args(health));
    let (program, health) = health.split_first().unwrap();
    assert_eq!(program, "streamer");
    let health: Vec<_> = health.iter().map(String::as_str).collect();
    // No recorder answers there, which is another failure than a wrong usage.
    assert_eq!(run(&health).status.code(), Some(3), "{health:?}");
}

#[test]
fn the_unit_gives_the_recorder_few_rights() {
    let Some(mut analyze) = tool("systemd-analyze") else { return };
    analyze.args(["security", "--no-pager", "--offline=true", "--threshold=20"]);
    let output = analyze.arg(packaging("streamer.service")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes the package of the tested binary with this version.
fn make_package(dir: &Path, version: &str) -> Option<()> {
    let mut cargo_deb = tool("cargo-deb")?;
    tool("dpkg-deb")?;
    fs::create_dir_all(dir.join("release")).unwrap();
    let binary = dir.join("release/streamer");
    fs::copy(env!("CARGO_BIN_EXE_streamer"), binary).unwrap();
    cargo_deb.args(["--no-build", "--no-strip", "--fast", "--offline", "--profile", "release"]);
    cargo_deb.args(["--deb-version", version, "--output"]).arg(dir.join(format!("{version}.deb")));
    let root = env!("CARGO_MANIFEST_DIR");
    let made = cargo_deb.current_dir(root).env("CARGO_TARGET_DIR", dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(())
}

fn show(system: &BootedSystem, property: &str) -> String {
    let show = ["systemctl", "show", "streamer", "--value", "--property", property];
    system.expect(&show).trim().to_owned()
}

/// Returns a configuration for the service, with these further keys.
fn config(url: &str, keys: Value) -> String {
    let text = fs::read_to_string(packaging("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    // A name, so that the rights suffice to look one up.
    config["ws_url"] = url.replace("127.0.0.1", "venue").into();
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    config.to_string()
}

#[test]
fn the_package_is_installed_started_upgraded_and_removed() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text(r#"{"price":1}"#);
        peer.answer_until_end();
    });
    let dir = tempfile::tempdir().unwrap();
    let packages = ["1.0-1", "1.1-1"].map(|version| make_package(dir.path(), version));
    if packages.contains(&None) {
        return;
    }
    let Some(system) = BootedSystem::boot(dir.path()) else { return };
    system.write("/etc/hosts", "127.0.0.1 venue\n");

    system.expect(&["dpkg", "--install", "/shared/1.0-1.deb"]);
    system.expect(&["getent", "passwd", "streamer"]);
    assert_eq!(show(&system, "ActiveState"), "inactive", "the example is not what is wanted");
    assert_eq!(show(&system, "UnitFileState"), "disabled");

    system.write("/etc/streamer/config.json", &config(&server.url(), json!({})));
    // An hour of another day, so that the rights suffice to seal it.
    let old = "/var/lib/streamer/output/publicTrade.BTCUSDT_1699999200.jsonl";
    system.write(old, "{\"price\":0}\n");
    system.expect(&["chown", "-R", "streamer:streamer", "/var/lib/streamer"]);
    // Returns when the recorder says that it is ready.
    system.expect(&["systemctl", "enable", "--now", "streamer"]);
    assert_eq!(show(&system, "ActiveState"), "active");
    system.wait_for(&["systemctl", "show", "streamer", "-P", "StatusText"], |text| {
        text.starts_with("Uptime: ")
    });
    let lines = ["sh", "-c", "cat /var/lib/streamer/output/*.jsonl"];
    system.wait_for(&lines, |text| text.ends_with("{\"price\":1}\n"));
    system.wait_for(
        &["sh", "-c", &format!("test -e {old}.zst && test ! -e {old}; echo $?")],
        |text| text == "0\n",
    );
    let owner = ["sh", "-c", "stat -c %U:%a /var/lib/streamer/output/*.jsonl"];
    assert_eq!(system.expect(&owner), "streamer:640\n");
    let status = ["streamer", "-status", "-config", "/etc/streamer/config.json"];
    assert!(system.expect(&status).starts_with("Uptime: "));
    let started = ["journalctl", "-u", "streamer", "-o", "json", "-g", "^INFO started"];
    let started: Value = serde_json::from_str(&system.expect(&started)).unwrap();
    assert_eq!(started["PRIORITY"], "6");
    let warnings = system.expect(&["journalctl", "-u", "streamer", "-p", "warning", "-o", "cat"]);
    assert!(!warnings.contains("WARN"), "the unit gives too few rights: {warnings}");
    system.expect(&["systemctl", "reload", "streamer"]);
    system.wait_for(&["journalctl", "-u", "streamer", "-o", "cat"], |text| text.contains("SIGHUP"));
    assert_eq!(show(&system, "ActiveState"), "active");

    let before = show(&system, "MainPID");
    system.expect(&["dpkg", "--install", "/shared/1.1-1.deb"]);
    assert_eq!(show(&system, "ActiveState"), "active");
    assert_ne!(show(&system, "MainPID"), before, "the new version runs");
    let kept = system.expect(&["cat", "/etc/streamer/config.json"]);
    assert!(kept.contains("ws://venue:"), "the configuration was replaced: {kept}");

    system.expect(&["dpkg", "--remove", "streamer-recorder"]);
    assert_eq!(show(&system, "ActiveState"), "inactive");
    system.expect(&["test", "-e", "/etc/streamer/config.json"]);
    system.expect(&["dpkg", "--purge", "streamer-recorder"]);
    system.expect(&["test", "!", "-e", "/etc/streamer/config.json"]);
    assert!(system.expect(&lines).starts_with("{\"price\":1}\n"), "the archive stays");
}

#[test]
fn systemd_restarts_a_recorder_that_hangs_and_not_one_that_is_misconfigured() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text(r#"{"price":1}"#);
        peer.answer_until_end();
    });
    let dir = tempfile::tempdir().unwrap();
    if make_package(dir.path(), "1.0-1").is_none() {
        return;
    }
    let Some(system) = BootedSystem::boot(dir.path()) else { return };
    system.write("/etc/hosts", "127.0.0.1 venue\n");
    system.expect(&["dpkg", "--install", "/shared/1.0-1.deb"]);
    let faster = "[Service]\nWatchdogSec=2\nRestartSec=0\n";
    system.write("/etc/systemd/system/streamer.service.d/test.conf", faster);
    system.expect(&["systemctl", "daemon-reload"]);
    let endless = json!([{ "type": "jq", "program": "last(range(1e18))" }]);
    let keys = json!({ "stages": endless });
    system.write("/etc/streamer/config.json", &config(&server.url(), keys));
    system.expect(&["systemctl", "start", "streamer"]);
    system.wait_for(&["systemctl", "show", "streamer", "-P", "NRestarts"], |text| text != "0\n");
    let log = system.expect(&["journalctl", "-u", "streamer", "-o", "cat"]);
    assert!(log.contains("the thread of a pipeline makes no progress"), "{log}");
    assert!(log.contains("Watchdog timeout"), "{log}");

    system.expect(&["systemctl", "stop", "streamer"]);
    system.write("/etc/streamer/config.json", "{ \"buffer_sise\": 1 }");
    let started = system.run(&["systemctl", "start", "streamer"]);
    assert!(!started.status.success());
    assert_eq!(show(&system, "ActiveState"), "failed");
    assert_eq!(show(&system, "ExecMainStatus"), "2");
    let log = system.expect(&["journalctl", "-u", "streamer", "-o", "cat"]);
    assert!(log.contains("did you mean `buffer_size`?"), "{log}");
}
