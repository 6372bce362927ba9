//! How a command ends: the exit codes of the contract, and a failure that says what went wrong and what to do.

use std::fmt;
use std::io;

/// Exit codes that scripts hold on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something that has no code of its own.
    General = 1,
    /// The command line or the configuration.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Not allowed, or not in this build.
    Refused = 4,
    /// May work later.
    Temporary = 5,
    /// The other side cannot be reached or broke off.
    Network = 6,
    /// The bytes are not what their digest says.
    DigestMismatch = 7,
    /// No space left.
    DiskFull = 8,
    /// No box is running here, or not for this user.
    NoDaemon = 9,
    /// By the user.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

impl Exit {
    /// The exit that a problem of the control interface calls for.
    pub fn of_status(status: http::StatusCode) -> Exit {
        match status.as_u16() {
            400 | 421 => Exit::Usage,
            403 | 405 | 409 | 501 => Exit::Refused,
            404 | 410 | 416 => Exit::NotFound,
            408 | 425 | 429 | 503 => Exit::Temporary,
            502 | 504 => Exit::Network,
            507 => Exit::DiskFull,
            _ => Exit::General,
        }
    }

    /// The exit that a failure of our own disk calls for.
    pub fn of_io(error: &io::Error) -> Exit {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::DiskFull,
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Refused,
            _ => Exit::General,
        }
    }
}

/// Why a command did not do what it should.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// For scripts.
    pub exit: Exit,
    /// One line for people.
    pub message: String,
    /// What they can do about it; empty when there is nothing to say.
    pub fix: String,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), fix: String::new() }
    }

    /// The same with advice.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let codes = [
            Exit::Ok,
            Exit::General,
            Exit::Usage,
            Exit::NotFound,
            Exit::Refused,
            Exit::Temporary,
            Exit::Network,
            Exit::DigestMismatch,
            Exit::DiskFull,
            Exit::NoDaemon,
            Exit::Interrupted,
        ];
        assert_eq!(codes.map(|code| code as u8), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130]);
    }

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new(Exit::NoDaemon, "no box answers").fix("start it with `kith run`");
        assert_eq!(failure.to_string(), "no box answers; start it with `kith run`");
    }
}
