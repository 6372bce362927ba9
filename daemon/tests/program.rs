//! The program as a process: exit codes, what it says about a wrong configuration, start and stop.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// A command whose environment, configuration and data are its own.
fn kith(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith"));
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    command
}

fn output(home: &Path, arguments: &[&str]) -> Output {
    kith(home).args(arguments).output().expect("the program starts")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A daemon on free ports of loopback, killed when the test ends before it is stopped.
struct Daemon {
    child: Child,
    // Kept open: a daemon without a reader must not be what is tested.
    _stdout: BufReader<ChildStdout>,
    said: Vec<String>,
}

const FREE_PORTS: [&str; 8] = [
    "--set",
    "clients.listen=[\"127.0.0.1:0\"]",
    "--set",
    "admin.listen=[\"127.0.0.1:0\"]",
    "--set",
    "neighbours.enabled=false",
    "--set",
    "store.reserve=0",
];

impl Daemon {
    fn start(home: &Path) -> Daemon {
        let mut child = kith(home)
            .args(FREE_PORTS)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = Vec::new();
        // The last line of the welcome: by then everything listens.
        while !said.last().is_some_and(|line: &String| line.starts_with("  commands")) {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).expect("readable"), 0, "it ended after {said:?}");
            said.push(line);
        }
        Daemon { child, _stdout: stdout, said }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_wrong_configuration_names_file_line_and_key_and_binds_nothing() {
    let home = TempDir::new().expect("a directory");
    let file = home.path().join("k.toml");
    std::fs::write(&file, "name = \"attic\"\n[store]\nsize = \"20 apples\"\nsiez = 1\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    for command in [&["run"][..], &["config", "check"], &["status"]] {
        let output = output(home.path(), &[command, &["--config", file]].concat());
        assert_eq!(code(&output), Some(2), "{command:?}");
        let told = stderr(&output);
        assert!(told.contains(&format!("{file}:3: store.size: ")), "{told}");
        assert!(told.contains(&format!("{file}:4: store.siez: ")), "{told}");
    }
    assert!(!home.path().join(".local").exists(), "nothing was made");
}

#[test]
fn the_shown_configuration_is_the_one_in_effect() {
    let home = TempDir::new().expect("a directory");
    let output =
        output(home.path(), &["config", "show", "--set", "store.size=20GiB", "--set", "world.dht=off"]);
    assert_eq!(code(&output), Some(0));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("[store]\nsize = \"20GiB\"\n"), "{shown}");
    assert!(shown.contains(".local/share/kith"), "{shown}");
    assert!(stderr(&output).contains("world.dht is set"), "{}", stderr(&output));
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let home = TempDir::new().expect("a directory");
    for (arguments, expected) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["config", "check"], 0),
        (&["nonsense"], 2),
        (&["run", "--set", "novalue"], 2),
        (&["run", "--log", "=="], 2),
        (&["get", "gopher://example.com/"], 2),
        (&["get", "magnet:?xt=urn:btih:00"], 4),
        (&["get", "http://127.0.0.1/x"], 4),
        (&["pair", "attic", "12345678", "--role", "neighbour"], 9),
        (&["status"], 9),
        (&["pair"], 9),
        (&["pin", "http://example.com/"], 9),
    ] {
        let output = output(home.path(), arguments);
        assert_eq!(code(&output), Some(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let home = TempDir::new().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let listen = format!("admin.listen=[\"127.0.0.1:{port}\"]");
    let output = output(home.path(), &[&FREE_PORTS[..], &["--set", &listen]].concat());
    assert_eq!(code(&output), Some(1));
    let told = stderr(&output);
    assert!(told.contains("admin.listen") && told.contains(&port.to_string()), "{told}");
}

#[test]
fn a_started_box_answers_its_commands_and_stops_when_told() {
    let home = TempDir::new().expect("a directory");
    let mut daemon = Daemon::start(home.path());
    assert!(daemon.said.iter().any(|line| line.contains("proxy     http://127.0.0.1:")), "{:?}", daemon.said);
    let status = output(home.path(), &["status", "--json"]);
    assert_eq!(code(&status), Some(0), "{}", stderr(&status));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("one JSON object");
    assert_eq!(status["type"], "status");
    let port = status["clients"][0].as_str().and_then(|address| address.strip_prefix("127.0.0.1:"));
    assert!(port.is_some_and(|port| port != "0"), "{status}");
    for (arguments, expected) in [
        (&["objects", "--json"][..], 0),
        (&["neighbours"], 0),
        (&["pair"], 4),
        (&["pin", "http://example.com/"], 3),
        (&["purge", "example.com"], 3),
    ] {
        let output = output(home.path(), arguments);
        assert_eq!(code(&output), Some(expected), "{arguments:?}: {}", stderr(&output));
    }
    let second = output(home.path(), &FREE_PORTS);
    assert_eq!(code(&second), Some(1), "one box a directory");
    assert!(stderr(&second).contains("--data-dir"), "{}", stderr(&second));
    daemon.signal("-TERM");
    assert_eq!(daemon.child.wait().expect("ended").code(), Some(0));
    assert_eq!(code(&output(home.path(), &["status"])), Some(9));
}
