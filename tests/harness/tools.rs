//! Programs of other projects that the tests use. Where one is missing, its test reports that and
//! passes, unless `STREAMER_TESTS=all` is set, as `.ci/run` does: then it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the program, if it is installed.
pub fn tool(name: &str) -> Option<Command> {
    let found = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if found { Some(Command::new(name)) } else { missing(name) }
}

/// Returns a Python interpreter that has this module.
pub fn python_with(module: &str) -> Option<Command> {
    for python in [test_tools().join("bin/python"), PathBuf::from("python3")] {
        let imports = Command::new(&python)
            .args(["-c", &format!("import {module}")])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if imports {
            return Some(Command::new(python));
        }
    }
    missing(&format!("python3 with {module}"))
}

/// Returns a Node.js that has the `ws` module.
pub fn node_with_ws() -> Option<Command> {
    let mut node = tool("node")?;
    let modules = test_tools().join("node_modules");
    if !modules.join("ws").is_dir() {
        return missing("the `ws` module of Node.js");
    }
    node.env("NODE_PATH", modules);
    Some(node)
}

/// Returns the directory for tools that `.ci/run` installs beside the packages of the system.
pub(super) fn test_tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools")
}

/// Returns the path of the library that gives a process a clock of its own.
pub fn faketime() -> Option<PathBuf> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", ""];
    let library = places
        .iter()
        .map(|place| Path::new("/usr/lib").join(place).join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists());
    library.or_else(|| missing("libfaketime"))
}

/// Returns the program that starts another one, which sees this file instead of another.
pub fn mount_file(file: &Path, instead_of: &str) -> Option<Vec<String>> {
    let script = r#"mount --bind "$0" "$1" && shift && exec "$@""#;
    let file = file.to_str().unwrap();
    let wrapper = ["unshare", "--mount", "sh", "-c", script, file, instead_of];
    let wrapper = wrapper.map(str::to_owned).to_vec();
    let mounted = Command::new(&wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if mounted { Some(wrapper) } else { missing("the right to mount a file") }
}

/// Returns a command that starts a program as process 1 of a PID namespace.
pub fn as_process_1() -> Option<Vec<&'static str>> {
    let command = vec!["unshare", "--fork", "--kill-child", "--pid", "--mount-proc"];
    let permitted = Command::new(command[0])
        .args(&command[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if permitted { Some(command) } else { missing("the right to make a PID namespace") }
}

/// A small file system, which is unmounted when this is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(path: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if mounted { Some(Self(path.to_owned())) } else { missing("the right to mount a tmpfs") }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
pub(super) fn missing<T>(what: &str) -> Option<T> {
    let all = std::env::var("STREAMER_TESTS").is_ok_and(|value| value == "all");
    // Some machines that run all tests have no right to mount.
    assert!(!all || what.starts_with("the right"), "{what} is missing");
    eprintln!("SKIPPED: {what} is missing");
    None
}
