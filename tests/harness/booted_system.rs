use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use super::WAIT_LIMIT;
use super::tools::{missing, test_tools, tool};

/// A Debian of its own that systemd has booted, in a container that shares the network. What is
/// changed in it is gone when this is dropped.
pub struct BootedSystem {
    container: Child,
    /// Number of its process 1 outside.
    process_1: String,
}

impl BootedSystem {
    /// Boots a system that sees the directory as `/shared`.
    pub fn boot(shared: &Path) -> Option<Self> {
        let root = test_tools().join("debian");
        if !root.join("usr/lib/systemd/systemd").exists() {
            return missing("the right to boot a Debian, or one in target/test-tools/debian");
        }
        tool("systemd-nspawn")?;
        if !mounts_are_permitted() {
            return missing("the right to make namespaces and mounts");
        }
        // The container must not depend on the /run of this machine, nor leave something there.
        let script = r#"mount -t tmpfs tmpfs /run && exec systemd-nspawn --quiet --directory="$0" \
            --bind-ro="$1:/shared" --volatile=overlay --register=no --keep-unit --console=pipe --boot"#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]);
        command.arg(root).arg(shared).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut system = Self { container: command.spawn().unwrap(), process_1: String::new() };
        if let Err(error) = system.wait_until_booted() {
            return missing(&format!("the right to boot a system in this container: {error}"));
        }
        Some(system)
    }

    /// # Errors
    /// What the container says: some machines permit mounts and no system of its own.
    fn wait_until_booted(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            if let Some(process_1) = self.find_process_1() {
                self.process_1 = process_1;
                let state = self.run(&["systemctl", "is-system-running"]);
                if matches!(state.stdout.trim_ascii(), b"running" | b"degraded") {
                    return Ok(());
                }
            }
            if Instant::now() > deadline || self.container.try_wait().unwrap().is_some() {
                drop(self.container.kill());
                let error = std::io::read_to_string(self.container.stderr.take().unwrap());
                return Err(error.unwrap());
            }
            std::thread::yield_now();
        }
    }

    /// Returns the process that is number 1 in a namespace within that of the container's manager.
    fn find_process_1(&self) -> Option<String> {
        let mut family = vec![self.container.id().to_string()];
        while let Some(process) = family.pop() {
            let proc = PathBuf::from("/proc").join(&process);
            let status = fs::read_to_string(proc.join("status")).ok()?;
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            let numbers: Vec<_> = numbers.split_whitespace().collect();
            if numbers.len() >= 3 && numbers.last() == Some(&"1") {
                return Some(process);
            }
            let children = proc.join("task").join(&process).join("children");
            let children = fs::read_to_string(children).ok()?;
            family.extend(children.split_whitespace().map(str::to_owned));
        }
        None
    }

    /// Runs a command in the system.
    pub fn run(&self, command: &[&str]) -> Output {
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &self.process_1, "--mount", "--pid", "--uts", "--ipc"]);
        inside.arg("--").args(command).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        inside.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        inside.current_dir("/").stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command in the system, which must succeed, and returns what it prints.
    pub fn expect(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
        stdout
    }

    /// Repeats a command until its output satisfies `wanted`, and returns that.
    pub fn wait_for(&self, command: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let output = self.run(command);
            let text = String::from_utf8(output.stdout).unwrap();
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{command:?} has:\n{text}");
        }
    }

    /// Writes a file in the system.
    pub fn write(&self, path: &str, text: &str) {
        let script = r#"mkdir -p "$(dirname "$0")" && printf %s "$1" > "$0""#;
        self.expect(&["sh", "-c", script, path, text]);
    }
}

impl Drop for BootedSystem {
    fn drop(&mut self) {
        // Its processes die with their namespace.
        drop(self.container.kill());
        drop(self.container.wait());
    }
}

fn mounts_are_permitted() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/run"]);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
