//! A real browser: Chromium without a window, told what to do by the `DevTools` protocol over a pair of pipes.
//!
//! Commands go out and answers come back as JSON that ends with a zero byte; events in between are kept for whoever
//! waits for one. The browser ends when this is dropped.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::place::Place;

/// What a browser does on a busy machine: start, load a page, decode a film.
const LIMIT: Duration = Duration::from_secs(60);

/// Nothing that the browser wants for itself; root has no sandbox to offer.
const QUIET: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
];

/// Standard input and output become the pipes 3 and 4 that Chromium expects.
const PIPES: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// A running browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    events: Vec<Value>,
    last: u64,
    session: String,
    home: TempDir,
}

impl Browser {
    /// Starts it somewhere, with further arguments.
    pub fn start(place: &Place, arguments: &[&str]) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("kith-browser-").tempdir()?;
        let mut command = place.command("sh");
        command.args(["-c", PIPES, "sh", "chromium"]).args(QUIET).args(arguments);
        command.arg(format!("--user-data-dir={}", home.path().join("profile").display())).arg("about:blank");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = child.stdin.take().context("piped")?;
        let answers = child.stdout.take().context("piped")?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let answers = BufReader::new(answers).split(0).map_while(Result::ok);
            for message in answers.filter_map(|bytes| serde_json::from_slice(&bytes).ok()) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let session = String::new();
        let mut browser = Self { child, commands, messages, events: Vec::new(), last: 0, session, home };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attached)?;
        attached["sessionId"].as_str().context("a session")?.clone_into(&mut browser.session);
        browser.call("Page.enable", &json!({}))?;
        let downloads = json!({
            "behavior": "allow", "downloadPath": browser.home.path().display().to_string(), "eventsEnabled": true
        });
        browser.call("Browser.setDownloadBehavior", &downloads)?;
        Ok(browser)
    }

    /// Goes to an address, as if it were typed, and waits until the page is loaded.
    pub fn go(&mut self, url: &str) -> Result<()> {
        self.events.clear();
        let gone = self.call("Page.navigate", &json!({"url": url}))?;
        ensure!(gone["errorText"].is_null(), "{url}: {gone}");
        self.wait("the page to load", |event| (event["method"] == "Page.loadEventFired").then_some(()))
    }

    /// Does something that leads to another page, such as clicking, and waits for that.
    pub fn go_by(&mut self, script: &str) -> Result<()> {
        self.events.clear();
        self.run(script)?;
        self.wait("the next page to load", |event| (event["method"] == "Page.loadEventFired").then_some(()))
    }

    /// Runs a script as the page's user would act, and gives what it evaluates to; promises are waited for.
    pub fn run(&mut self, script: &str) -> Result<Value> {
        let asked = json!({
            "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true,
            "allowUnsafeEvalBlockedByCSP": true
        });
        let answer = self.call("Runtime.evaluate", &asked)?;
        ensure!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        Ok(answer["result"]["value"].clone())
    }

    /// Goes to an address that is no page, and waits until it is saved. Gives the file.
    pub fn save(&mut self, url: &str) -> Result<Vec<u8>> {
        self.events.clear();
        // Chromium calls a navigation that became a download aborted.
        self.call("Page.navigate", &json!({"url": url}))?;
        self.saved()
    }

    /// Waits until a download that was begun is saved. Gives the file.
    pub fn saved(&mut self) -> Result<Vec<u8>> {
        let name = self.wait("the download to begin", |event| {
            (event["method"] == "Browser.downloadWillBegin")
                .then(|| event["params"]["suggestedFilename"].clone())
        })?;
        let state = self.wait("the download to end", |event| {
            let state = &event["params"]["state"];
            let ended = event["method"] == "Browser.downloadProgress" && *state != "inProgress";
            ended.then(|| state.clone())
        })?;
        ensure!(state == "completed", "the download is {state}");
        let path = self.home.path().join(name.as_str().context("a name")?);
        let bytes = std::fs::read(&path)?;
        std::fs::remove_file(path)?;
        Ok(bytes)
    }

    /// One command of the `DevTools` protocol.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.last += 1;
        let number = self.last;
        let mut command = json!({"id": number, "method": method, "params": parameters});
        if !self.session.is_empty() && !method.starts_with("Browser.") && !method.starts_with("Target.") {
            command["sessionId"] = self.session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&command)?;
        bytes.push(0);
        self.commands.write_all(&bytes)?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let message = self.receive(method, deadline)?;
            if message["id"] == number {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].clone());
            }
            self.events.push(message);
        }
    }

    /// Waits for an event, those that came before included.
    fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        if let Some(found) = self.events.iter().find_map(&mut wanted) {
            return Ok(found);
        }
        let deadline = Instant::now() + LIMIT;
        loop {
            let message = self.receive(what, deadline)?;
            let found = wanted(&message);
            self.events.push(message);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    fn receive(&self, what: &str, deadline: Instant) -> Result<Value> {
        match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => Ok(message),
            Err(error) => bail!("the browser, {what}: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
