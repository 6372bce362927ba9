//! All that may be said on the command line: commands, what stands behind them, their switches, and what each is for.

use super::words::Words;
use super::{Command, Config, Explain, Get, Group, GroupAct, Output, Pair, Role, help};
use crate::cli::exit::{Exit, Failure};

/// A command.
pub(super) struct Entry {
    /// One word, or two where several commands are about one thing.
    pub(super) name: &'static str,
    /// One line, in the list of all commands.
    pub(super) about: &'static str,
    /// What else its own help says; lines, or nothing.
    pub(super) more: &'static str,
    /// What stands behind it, in this order.
    pub(super) operands: &'static [Operand],
    /// Its own switches; `COMMON` are everywhere.
    pub(super) switches: &'static [Switch],
    /// Turns what was said into what is to be done.
    pub(super) make: fn(&Words) -> Result<Command, Failure>,
}

/// A word behind a command.
pub(super) struct Operand {
    /// In capitals, as it stands in the help.
    pub(super) name: &'static str,
    /// Its line in the help.
    pub(super) about: &'static str,
    /// How often it may stand there.
    pub(super) times: Times,
}

/// How often a word may stand in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// It has to.
    Once,
    /// It may.
    Optional,
    /// As often as one likes; only the last operand.
    Any,
}

/// An option.
#[derive(Clone, Copy)]
pub(super) struct Switch {
    /// Behind two dashes.
    pub(super) long: &'static str,
    /// Behind one dash.
    pub(super) short: Option<char>,
    /// What its value is called in the help, when it has one.
    pub(super) value: Option<&'static str>,
    /// Its lines in the help.
    pub(super) about: &'static str,
}

const fn operand(name: &'static str, about: &'static str) -> Operand {
    Operand { name, about, times: Times::Once }
}

/// A switch that is there or not.
const fn plain(long: &'static str, about: &'static str) -> Switch {
    Switch { long, short: None, value: None, about }
}

const fn valued(long: &'static str, value: &'static str, about: &'static str) -> Switch {
    Switch { long, short: None, value: Some(value), about }
}

const fn short(letter: char, switch: Switch) -> Switch {
    Switch { short: Some(letter), ..switch }
}

pub(super) const CONFIG: Switch =
    valued("config", "FILE", "Read this configuration file\n[default: /etc/kith/kith.toml when it is there]");
pub(super) const DATA_DIR: Switch =
    valued("data-dir", "DIR", "Where the box keeps its data and its control socket");
pub(super) const SET: Switch =
    valued("set", "KEY=VALUE", "Override a setting, such as store.size=20GiB; any number\nof times");
pub(super) const LOG: Switch = valued(
    "log",
    "FILTER",
    "What to log, such as debug or info,kith_fetch=debug\n[default: KITH_LOG, or info]",
);
pub(super) const HELP: Switch = short('h', plain("help", "Print help"));
pub(super) const VERSION: Switch = short('V', plain("version", "Print the version"));

/// Switches of every command.
pub(super) const COMMON: &[Switch] = &[CONFIG, DATA_DIR, SET, LOG, HELP, VERSION];

const JSON: Switch = plain("json", "Print one JSON object a line");
const OUTPUT: Switch =
    short('o', valued("output", "FILE", "Where to write it [default: the last part of the\nURL's path]"));
const ROLE: Switch = valued(
    "role",
    "ROLE",
    "What the other box is for us: mine, of the same\nhousehold, or neighbour, of another [default: mine]",
);

const THING: &[Operand] = &[operand("URL|ID", "A URL or an object id")];

/// A command that only says how it is told.
const fn view(
    name: &'static str,
    about: &'static str,
    make: fn(&Words) -> Result<Command, Failure>,
) -> Entry {
    Entry { name, about, more: "", operands: &[], switches: &[JSON], make }
}

/// A command about one thing, without switches.
const fn care(
    name: &'static str,
    about: &'static str,
    operands: &'static [Operand],
    make: fn(&Words) -> Result<Command, Failure>,
) -> Entry {
    Entry { name, about, more: "", operands, switches: &[], make }
}

/// Every command.
pub(super) const COMMANDS: &[Entry] = &[
    care("run", "Run the daemon in the foreground", &[], |_| Ok(Command::Run)),
    Entry {
        name: "get",
        about: "Download a URL through the running box, or without one",
        more: "Without a box it comes straight from the origin. Until all of it is there and\n\
            checked it is FILE.part, with which the same command goes on after a break.",
        operands: &[operand("URL", "An http, https or ni URL")],
        switches: &[OUTPUT, JSON],
        make: |words| {
            let output = words.path(&OUTPUT);
            Ok(Command::Get(Get { url: words.operand(0)?, output, format: format(words) }))
        },
    },
    view("status", "Show how the box is doing", |words| Ok(Command::Status(format(words)))),
    view("neighbours", "Show the boxes next door", |words| Ok(Command::Neighbours(format(words)))),
    view("objects", "Show what lies on the shelf", |words| Ok(Command::Objects(format(words)))),
    Entry {
        name: "pair",
        about: "Pair with a box next door",
        more: "Without BOX and CODE it shows a code and waits; with them it uses the code that\n\
            the other box shows.",
        operands: &[
            Operand {
                name: "BOX",
                about: "Name, node id or address of the other box",
                times: Times::Optional,
            },
            Operand { name: "CODE", about: "The eight digits it shows", times: Times::Optional },
        ],
        switches: &[ROLE, JSON],
        make: pair,
    },
    care(
        "unpair",
        "Forget a paired box",
        &[operand("BOX", "Name, node id or address of the box")],
        |words| Ok(Command::Unpair(words.operand(0)?)),
    ),
    Entry {
        name: "group new",
        about: "Found a group, whose boxes pair by themselves",
        more: "It shows six words, once. Boxes where they are typed in pair with each other.\n\
            A box that was in another group leaves that; who is paired stays so.",
        operands: &[],
        switches: &[ROLE, JSON],
        make: |words| group(words, GroupAct::New),
    },
    Entry {
        name: "group join",
        about: "Come into the group of those who know the same words",
        more: "",
        operands: &[
            operand("WORD", "What `kith group new` has shown on another box"),
            Operand { name: "WORD", about: "All six, with blanks or dashes", times: Times::Any },
        ],
        switches: &[ROLE, JSON],
        make: |words| group(words, GroupAct::Join(words.operands()?.join(" "))),
    },
    view("group leave", "Leave the group; who is paired stays so", |words| group(words, GroupAct::Leave)),
    view("group show", "Say whether this box is in a group", |words| group(words, GroupAct::Show)),
    Entry {
        name: "rotate-key",
        about: "Make another key for this box, which it takes at its next start",
        more: "Paired boxes are told of it, by the key that they know, when they are there.\n\
            Until all have been told no other key can be made.",
        operands: &[],
        switches: &[JSON],
        make: |words| Ok(Command::RotateKey(format(words))),
    },
    care("pin", "Keep an object whatever else has to go", THING, |words| Ok(Command::Pin(words.operand(0)?))),
    care("unpin", "Let an object go when space is needed", THING, |words| {
        Ok(Command::Unpin(words.operand(0)?))
    }),
    care(
        "purge",
        "Throw away an object, what a URL stands for, or all of a host",
        &[operand("URL|ID|HOST", "A URL, an object id or a host")],
        |words| Ok(Command::Purge(words.operand(0)?)),
    ),
    Entry {
        name: "explain",
        about: "Tell why a URL is or is not stored, fresh or shared",
        more: "It also tells where its bytes came from.",
        operands: &[operand("URL", "An http or https URL")],
        switches: &[JSON],
        make: |words| Ok(Command::Explain(Explain { url: words.operand(0)?, format: format(words) })),
    },
    care("config check", "Say whether the configuration is right", &[], |_| {
        Ok(Command::Config(Config::Check))
    }),
    care("config show", "Print the configuration in effect, secrets masked", &[], |_| {
        Ok(Command::Config(Config::Show))
    }),
    view("doctor", "Check the machine and the configuration, and say what to do", |words| {
        Ok(Command::Doctor(format(words)))
    }),
    care(
        "help",
        "Tell more of a command",
        &[Operand { name: "COMMAND", about: "Which [default: all]", times: Times::Any }],
        |words| help::of(&words.operands()?.join(" ")).map(Command::Tell),
    ),
];

fn format(words: &Words) -> Output {
    Output { json: words.has(&JSON) }
}

fn pair(words: &Words) -> Result<Command, Failure> {
    let mut operands = words.operands()?.into_iter();
    let guest = match (operands.next(), operands.next()) {
        (None, _) => None,
        (Some(name), Some(code)) => Some((name, code)),
        (Some(_), None) => return Err(words.misused("the CODE that the box shows is missing")),
    };
    Ok(Command::Pair(Pair { guest, role: role(words)?, format: format(words) }))
}

fn role(words: &Words) -> Result<Role, Failure> {
    let Some(said) = words.text(&ROLE)? else { return Ok(Role::Mine) };
    [Role::Mine, Role::Neighbour]
        .into_iter()
        .find(|role| role.as_str() == said)
        .ok_or_else(|| words.misused(&format!("--role is mine or neighbour, not {said}")))
}

fn group(words: &Words, act: GroupAct) -> Result<Command, Failure> {
    let role = match act {
        GroupAct::New | GroupAct::Join(_) => role(words)?,
        GroupAct::Show | GroupAct::Leave => Role::Mine,
    };
    Ok(Command::Group(Group { act, role, format: format(words) }))
}

/// The command of this name.
pub(super) fn entry(name: &str) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.name == name)
}

/// The commands of two words of which this is the first.
pub(super) fn family(first: &str) -> impl Iterator<Item = &'static Entry> {
    COMMANDS.iter().filter(move |entry| entry.name.split_once(' ').is_some_and(|(word, _)| word == first))
}

/// Says that there is no such command, and which one may have been meant.
pub(super) fn no_command(name: &str) -> Failure {
    let hint = match nearest(name, COMMANDS.iter().map(|entry| entry.name)) {
        Some(near) => format!(" (did you mean {near}?)"),
        None => String::new(),
    };
    Failure::new(Exit::Usage, format!("there is no command {name}{hint}")).fix("`kith --help` lists all")
}

/// The name that takes the fewest changes of letters to get to, when these are few.
pub(super) fn nearest(said: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let changes_max = said.len() / 3;
    let near = names.map(|name| (changes(said, name), name)).min();
    near.filter(|(changes, _)| *changes <= changes_max).map(|(_, name)| name)
}

/// How many letters have to be put in, taken out or exchanged to make one word of another (Levenshtein's distance).
fn changes(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (column, right) in to.bytes().enumerate() {
            let exchanged = corner + usize::from(left != right);
            corner = row[column + 1];
            row[column + 1] = exchanged.min(corner + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
