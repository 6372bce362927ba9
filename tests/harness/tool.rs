//! Real programs from the distribution.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<Said> {
    // A test's own proxy settings are part of the command; those of the machine are not.
    for name in
        ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
    {
        if !command.get_envs().any(|(known, _)| known == name) {
            command.env_remove(name);
        }
    }
    let output = command.output().with_context(|| format!("running {}", command.get_program().display()))?;
    Ok(Said::of(&output))
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Result<Said> {
    let said = run(command)?;
    ensure!(
        said.code == 0,
        "{} ended with {}:\n{}\n{}",
        command.get_program().display(),
        said.code,
        said.out,
        said.err
    );
    Ok(said)
}
