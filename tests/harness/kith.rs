//! A box as a process: its data directory, its ports, what it says and counts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::binary;
use crate::client::Request;
use crate::metrics::Metrics;
use crate::patience::until;
use crate::place::Place;
use crate::tool::{self, Said};

/// From start to being able to serve; includes rebuilding an index.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// From SIGTERM to the end: more than `shutdown.grace_s`.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// An answer on the control socket.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A box that is not started yet.
#[derive(Clone, Debug)]
pub struct Setup {
    name: String,
    place: Place,
    clients: SocketAddr,
    settings: Vec<(String, String)>,
    program: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Overrides a key of the configuration; the value is written as in TOML.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.into(), value.into()));
        self
    }

    /// Stands in a network of the lab: finds neighbours, listens on the usual ports.
    pub fn at(mut self, place: &Place, address: Ipv4Addr) -> Self {
        self.place = place.clone();
        self.clients = SocketAddr::new(IpAddr::V4(address), 8480);
        self.set("neighbours.enabled", "true")
            .set("clients.listen", "[\"[::]:8480\"]")
            .set("admin.listen", "[\"[::]:8481\"]")
    }

    /// Lives on another day: this many days from now, before now when negative.
    pub fn days_ahead(mut self, days: i32) -> Result<Self> {
        let libraries = std::fs::read_dir("/usr/lib")?.flatten();
        let libraries = libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
        let library = libraries.into_iter().find(|path| path.exists()).context("faketime is missing")?;
        let variables = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME", format!("{days:+}d")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        Ok(self)
    }

    /// Runs another program than `kith`, with the same command line.
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> Result<Kith> {
        let home = tempfile::Builder::new().prefix("kith-test-").tempdir()?;
        std::fs::write(home.path().join("kith.toml"), self.toml())?;
        std::fs::create_dir(home.path().join("data"))?;
        let mut kith =
            Kith { setup: self, home, running: None, log: Arc::default(), clients: None, admin: None };
        kith.start()?;
        Ok(kith)
    }

    fn toml(&self) -> String {
        let mut text = String::new();
        let mut settings = self.settings.clone();
        // What belongs to no section comes first.
        settings.sort_by_key(|(key, _)| (key.contains('.'), key.clone()));
        let mut section = "";
        for (key, value) in &settings {
            let (of, name) = key.split_once('.').unwrap_or(("", key));
            if of != section {
                text.extend(["[", of, "]\n"]);
                section = of;
            }
            text.extend([name, " = ", value, "\n"]);
        }
        format!("name = \"{}\"\n{text}", self.name)
    }
}

/// A box, running or stopped, with a home of its own. Ended and swept away when dropped.
#[derive(Debug)]
pub struct Kith {
    setup: Setup,
    home: TempDir,
    running: Option<Running>,
    log: Arc<Mutex<Vec<String>>>,
    clients: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    listeners: Vec<JoinHandle<()>>,
}

impl Kith {
    /// A box on loopback that may fetch from loopback and has no neighbours.
    pub fn named(name: &str) -> Setup {
        let setup = Setup {
            name: name.into(),
            place: Place::Here,
            clients: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            settings: Vec::new(),
            program: None,
            environment: Vec::new(),
        };
        setup
            .set("clients.listen", "[\"127.0.0.1:0\"]")
            .set("admin.listen", "[\"127.0.0.1:0\"]")
            .set("origins.allow_private", "[\"127.0.0.0/8\"]")
            .set("neighbours.enabled", "false")
            .set("shutdown.grace_s", "2")
    }

    /// Starts one with that name and no further settings.
    pub fn start_one(name: &str) -> Result<Self> {
        Self::named(name).start()
    }

    /// Starts it again on the same data.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "{} runs already", self.setup.name);
        let program = self.setup.program.clone().map_or_else(binary::kith, Ok)?;
        let mut command = self.setup.place.command(program);
        command
            .arg("run")
            .args(self.common())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.envs(self.setup.environment.iter().cloned());
        command.env("KITH_LOG", std::env::var("KITH_TEST_LOG").unwrap_or_else(|_| "info".into()));
        let mut child = command.spawn().context("starting kith")?;
        let listeners = vec![self.listen(child.stdout.take()), self.listen(child.stderr.take())];
        self.running = Some(Running { child, listeners });
        let status = until("the box answers on its control socket", READY_LIMIT, || {
            self.has_ended().map(Err).or_else(|| self.status().ok().map(Ok))
        })?;
        let status =
            status.map_err(|ended| anyhow::anyhow!("kith ended at once: {ended}\n{}", self.log()))?;
        self.clients = Some(self.address(&status, "clients")?);
        self.admin = Some(self.address(&status, "admin")?);
        Ok(())
    }

    /// Where clients connect.
    pub fn clients(&self) -> SocketAddr {
        self.clients.expect("the box was started")
    }

    /// Where the admin port is.
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the box was started")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.setup.place
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.home.path().join("kith.toml")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the box runs").child.id()
    }

    /// What it printed since it was made.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics while logging").join("\n")
    }

    /// Whether it ended by itself, and how.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().and_then(|running| running.child.try_wait().ok().flatten())
    }

    /// Ends it without warning.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended().map(drop)
    }

    /// Asks it to end and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended()
    }

    /// Ends it in order and starts it on the same data.
    pub fn restart(&mut self) -> Result<()> {
        let status = self.terminate()?;
        ensure!(status.success(), "{} ended with {status}", self.setup.name);
        self.start()
    }

    /// Stops it where it is: connections stay, nothing moves.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("a process has a number")?;
        Ok(kill_process(pid, signal)?)
    }

    fn ended(&mut self) -> Result<ExitStatus> {
        let status = until("the box ends", STOP_LIMIT, || self.has_ended())?;
        for listener in self.running.take().map(|running| running.listeners).unwrap_or_default() {
            let _ = listener.join();
        }
        Ok(status)
    }

    /// `/api/v1/status` on the control socket.
    pub fn status(&self) -> Result<Value> {
        self.ask("/api/v1/status")
    }

    /// One of the other boxes as this one sees it, by name or node id; nothing when it sees none of that name.
    pub fn neighbour(&self, name: &str) -> Result<Option<Value>> {
        Ok(self.neighbours()?.into_iter().find(|view| view["name"] == name || view["node_id"] == name))
    }

    /// All other boxes as this one sees them.
    pub fn neighbours(&self) -> Result<Vec<Value>> {
        let answer = self.ask("/api/v1/neighbours")?;
        Ok(answer["neighbours"].as_array().cloned().unwrap_or_default())
    }

    /// Reads something from the control socket.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let mut stream = UnixStream::connect(self.data().join("control.sock"))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: kith\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        Ok(serde_json::from_str(body)?)
    }

    /// What it counted so far.
    pub fn metrics(&self) -> Result<Metrics> {
        let text = Request::to(self.admin(), "/metrics").from(&self.setup.place).send()?.text()?;
        Ok(Metrics::parse(&text))
    }

    /// Waits until the metrics are as wanted: some counts follow the last byte of an answer by a moment.
    pub fn wait_metrics(
        &self,
        what: &str,
        limit: Duration,
        enough: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        until(what, limit, || self.metrics().ok().filter(|metrics| enough(metrics)))
            .with_context(|| format!("{:?}", self.metrics()))
    }

    /// Waits until so many objects are on the shelf: they are filed a moment after the last byte was delivered.
    pub fn wait_stored(&self, objects: u64) -> Result<()> {
        self.wait_metrics("objects on the shelf", Duration::from_secs(10), |metrics| {
            metrics.count("kith_store_objects") == objects
        })
        .map(drop)
    }

    /// A command of `kith` about this box.
    pub fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Command> {
        let mut command = self.setup.place.command(binary::kith()?);
        command.args(words).args(self.common());
        Ok(command)
    }

    /// Runs a command of `kith` about this box to its end.
    pub fn cli<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Said> {
        tool::run(&mut self.command(words)?)
    }

    fn common(&self) -> Vec<PathBuf> {
        vec!["--config".into(), self.config(), "--data-dir".into(), self.data()]
    }

    /// The first bound address of a kind, at the address that tests use.
    fn address(&self, status: &Value, kind: &str) -> Result<SocketAddr> {
        let text = status[kind][0].as_str().with_context(|| format!("the status names {kind}"))?;
        let bound: SocketAddr = text.parse()?;
        ensure!(bound.port() != 0, "the status names the port that {kind} got");
        Ok(SocketAddr::new(self.setup.clients.ip(), bound.port()))
    }

    /// Passes on what the box prints: the test runner shows it when the test fails.
    fn listen(&self, stream: Option<impl Read + Send + 'static>) -> JoinHandle<()> {
        let (name, log) = (self.setup.name.clone(), Arc::clone(&self.log));
        std::thread::spawn(move || {
            for line in BufReader::new(stream.expect("piped")).lines().map_while(Result::ok) {
                eprintln!("[{name}] {line}");
                log.lock().expect("nobody panics while logging").push(line);
            }
        })
    }
}

impl Drop for Kith {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// Bytes that a directory takes, all files in it together.
pub fn directory_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
