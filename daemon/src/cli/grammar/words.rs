//! Reading: the words that the user gave, held against the table.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use super::table::{self, COMMON, Entry, Switch, Times};
use super::{Cli, Command, Common, help};
use crate::cli::exit::{Exit, Failure};

/// What was said so far.
#[derive(Default)]
pub(super) struct Words {
    /// The command, or the first of its two words.
    path: String,
    entry: Option<&'static Entry>,
    /// In the order in which they were given; those without a value have an empty one.
    switches: Vec<(&'static Switch, OsString)>,
    operands: Vec<OsString>,
}

/// Reads a command line.
pub(super) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Failure> {
    let mut said = Words::default();
    let mut parser = Parser::from_args(words);
    while let Some(word) = parser.next().map_err(|error| said.misused(&error.to_string()))? {
        let switch = match word {
            Arg::Value(word) => {
                said.word(word)?;
                continue;
            }
            Arg::Short(letter) => said.switch(|switch| switch.short == Some(letter)),
            Arg::Long(name) => said.switch(|switch| switch.long == name),
        };
        let switch = switch.ok_or_else(|| said.unknown(&word))?;
        if switch.long == table::HELP.long {
            return Ok(tell(help::of(&said.path)?));
        }
        if switch.long == table::VERSION.long {
            return Ok(tell(help::version()));
        }
        let value = if switch.value.is_some() { parser.value() } else { Ok(OsString::new()) };
        said.switches.push((switch, value.map_err(|error| said.misused(&error.to_string()))?));
    }
    said.finish()
}

fn tell(text: String) -> Cli {
    Cli { common: Common::default(), command: Command::Tell(text) }
}

impl Words {
    /// A word that is no switch: of the command, or behind it.
    fn word(&mut self, word: OsString) -> Result<(), Failure> {
        if let Some(entry) = self.entry {
            let places = entry.operands;
            let is_open = places.last().is_some_and(|last| last.times == Times::Any);
            if self.operands.len() >= places.len() && !is_open {
                return Err(self.misused(&format!("{} is too much", word.to_string_lossy())));
            }
            self.operands.push(word);
            return Ok(());
        }
        if !self.path.is_empty() {
            self.path.push(' ');
        }
        self.path.push_str(&word.to_string_lossy());
        self.entry = table::entry(&self.path);
        if self.entry.is_none() && table::family(&self.path).next().is_none() {
            return Err(table::no_command(&self.path));
        }
        Ok(())
    }

    fn switch(&self, is_it: impl Fn(&Switch) -> bool) -> Option<&'static Switch> {
        let own = self.entry.map_or(&[][..], |entry| entry.switches);
        own.iter().chain(COMMON).find(|switch| is_it(switch))
    }

    fn finish(self) -> Result<Cli, Failure> {
        let command = match self.entry {
            None if self.path.is_empty() => Command::Run,
            None => {
                let choice: Vec<_> = table::family(&self.path).map(|entry| entry.name).collect();
                return Err(self.misused(&format!("say {}", choice.join(" or "))));
            }
            Some(entry) => {
                let mut needed = entry.operands.iter().filter(|operand| operand.times == Times::Once);
                if let Some(missing) = needed.nth(self.operands.len()) {
                    return Err(self.misused(&format!("the {} is missing", missing.name)));
                }
                (entry.make)(&self)?
            }
        };
        let common = Common {
            config: self.path(&table::CONFIG),
            data_dir: self.path(&table::DATA_DIR),
            overrides: self.overrides()?,
            log: self.text(&table::LOG)?,
        };
        Ok(Cli { common, command })
    }

    fn overrides(&self) -> Result<Vec<(String, String)>, Failure> {
        let assignment = |value: &OsString| {
            let text = self.utf8(value)?;
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| self.misused("--set takes KEY=VALUE, such as store.size=20GiB"))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        };
        self.values(&table::SET).map(assignment).collect()
    }

    /// Whether a switch was given.
    pub(super) fn has(&self, switch: &Switch) -> bool {
        self.values(switch).next().is_some()
    }

    /// A file or directory; the last one when it was given more than once.
    pub(super) fn path(&self, switch: &Switch) -> Option<PathBuf> {
        self.values(switch).next_back().map(PathBuf::from)
    }

    /// A value as text; the last one when it was given more than once.
    pub(super) fn text(&self, switch: &Switch) -> Result<Option<String>, Failure> {
        self.values(switch).next_back().map(|value| self.utf8(value)).transpose()
    }

    /// An operand that has to be there.
    pub(super) fn operand(&self, place: usize) -> Result<String, Failure> {
        self.utf8(self.operands.get(place).expect("invariant: `finish` counts what has to be there"))
    }

    /// All operands.
    pub(super) fn operands(&self) -> Result<Vec<String>, Failure> {
        self.operands.iter().map(|operand| self.utf8(operand)).collect()
    }

    fn values(&self, switch: &Switch) -> impl DoubleEndedIterator<Item = &OsString> {
        let long = switch.long;
        debug_assert!(self.switch(|known| known.long == long).is_some(), "--{long} is not in the table");
        self.switches.iter().filter(move |(given, _)| given.long == long).map(|(_, value)| value)
    }

    fn utf8(&self, word: &OsStr) -> Result<String, Failure> {
        let text = word.to_str().map(ToOwned::to_owned);
        text.ok_or_else(|| self.misused(&format!("{} is not UTF-8", word.to_string_lossy())))
    }

    fn unknown(&self, word: &Arg<'_>) -> Failure {
        let name = match word {
            Arg::Long(name) => format!("--{name}"),
            Arg::Short(letter) => format!("-{letter}"),
            Arg::Value(_) => String::new(),
        };
        let own = self.entry.map_or(&[][..], |entry| entry.switches);
        let known = own.iter().chain(COMMON).map(|switch| switch.long);
        let hint = match table::nearest(name.trim_start_matches('-'), known) {
            Some(near) => format!(" (did you mean --{near}?)"),
            None => String::new(),
        };
        self.misused(&format!("there is no option {name}{hint}"))
    }

    /// Says what is wrong, of which command, and where its help is.
    pub(super) fn misused(&self, wrong: &str) -> Failure {
        if self.path.is_empty() {
            return Failure::new(Exit::Usage, wrong).fix("see `kith --help`");
        }
        let message = format!("{}: {wrong}", self.path);
        Failure::new(Exit::Usage, message).fix(format!("see `kith {} --help`", self.path))
    }
}
