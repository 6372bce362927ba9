//! Two boxes become a pair, by the command line as their owner would do it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::kith::Kith;
use crate::tool::Said;

/// A box that shows a code and waits for a guest. The window closes when dropped.
#[derive(Debug)]
pub struct Window {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    /// Eight digits.
    pub code: String,
}

impl Window {
    /// `kith pair` on that box.
    pub fn open(host: &Kith) -> Result<Self> {
        let mut child = host.command(["pair", "--json"])?.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).with_context(|| format!("kith pair said {line:?}"))?;
        ensure!(told["type"] == "code", "kith pair said {line}");
        let code = told["code"].as_str().context("a code")?.to_owned();
        ensure!(code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_digit()), "the code is {code}");
        Ok(Self { child, lines, code })
    }

    /// Waits for its end: the exit code.
    pub fn ended(mut self) -> Result<i32> {
        let mut rest = String::new();
        while self.lines.read_line(&mut rest)? > 0 {}
        Ok(self.child.wait()?.code().unwrap_or(-1))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `kith pair HOST CODE` on the guest.
pub fn join(guest: &Kith, host: &str, code: &str) -> Result<Said> {
    guest.cli(["pair", host, code])
}

/// Makes a pair of two boxes that see each other.
pub fn pair(host: &Kith, guest: &Kith) -> Result<()> {
    let window = Window::open(host)?;
    let code = window.code.clone();
    let said = join(guest, host.name(), &code)?;
    ensure!(said.code == 0, "kith pair {} {code}: {said:?}", host.name());
    let ended = window.ended()?;
    ensure!(ended == 0, "kith pair ended with {ended}");
    Ok(())
}
