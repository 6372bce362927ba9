//! The grammar of the command line: words and options, without what they do.
//!
//! All that may be said stands in one table (`table`), from which both the reading (`words`) and the help (`help`) are
//! made: neither can know an option that the other does not.

mod help;
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use super::exit::Failure;

/// What the user said.
#[derive(Debug)]
pub struct Cli {
    /// Options of every command.
    pub common: Common,
    /// What to do.
    pub command: Command,
}

impl Cli {
    /// Reads the words behind the name of the program.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Failure> {
        words::read(words)
    }
}

/// Options of every command.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// The configuration file to read.
    pub config: Option<PathBuf>,
    /// Where the box keeps its data and its control socket.
    pub data_dir: Option<PathBuf>,
    /// Settings that stand above those of the file.
    pub overrides: Vec<(String, String)>,
    /// What to log.
    pub log: Option<String>,
}

/// Commands.
#[derive(Debug)]
pub enum Command {
    /// The daemon, in the foreground.
    Run,
    /// A download.
    Get(Get),
    /// How the box is doing.
    Status(Output),
    /// The boxes next door.
    Neighbours(Output),
    /// What lies on the shelf.
    Objects(Output),
    /// Pairing with a box next door.
    Pair(Pair),
    /// The end of a pairing; the box by name, node id or address.
    Unpair(String),
    /// The group that the box is in.
    Group(Group),
    /// Another key for the box.
    RotateKey(Output),
    /// Keeping an object, by URL or id.
    Pin(String),
    /// Letting it go when space is needed.
    Unpin(String),
    /// Throwing it away, or all of a host.
    Purge(String),
    /// Why a URL is or is not stored or shared.
    Explain(Explain),
    /// A look at the configuration.
    Config(Config),
    /// A check of machine and configuration.
    Doctor(Output),
    /// This text: help, or the version.
    Tell(String),
}

/// `kith get`.
#[derive(Debug)]
pub struct Get {
    /// http, https or ni URL.
    pub url: String,
    /// Where to write it.
    pub output: Option<PathBuf>,
    /// How to tell about it.
    pub format: Output,
}

/// `kith explain`.
#[derive(Debug)]
pub struct Explain {
    /// http or https URL.
    pub url: String,
    /// How to tell about it.
    pub format: Output,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON object a line.
    pub json: bool,
}

/// `kith pair`.
#[derive(Debug)]
pub struct Pair {
    /// Name, node id or address of the other box, and the digits it shows; else ours are shown.
    pub guest: Option<(String, String)>,
    /// What the other box is for us.
    pub role: Role,
    /// How to tell about it.
    pub format: Output,
}

/// `kith group`.
#[derive(Debug)]
pub struct Group {
    /// What about it.
    pub act: GroupAct,
    /// What the others are for us.
    pub role: Role,
    /// How to tell about it.
    pub format: Output,
}

/// What to do about the group.
#[derive(Debug)]
pub enum GroupAct {
    /// Say whether the box is in one.
    Show,
    /// Found one.
    New,
    /// Come into the one of these words.
    Join(String),
    /// Leave it.
    Leave,
}

/// What a paired box is for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of the same household.
    Mine,
    /// Of another household.
    Neighbour,
}

impl Role {
    /// As it stands in the control protocol, and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Mine => "mine",
            Role::Neighbour => "neighbour",
        }
    }
}

/// `kith config`.
#[derive(Clone, Copy, Debug)]
pub enum Config {
    /// Whether it is right.
    Check,
    /// What is in effect, secrets masked.
    Show,
}
