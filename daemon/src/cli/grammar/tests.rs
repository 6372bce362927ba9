use std::ffi::OsString;

use super::table::{COMMANDS, COMMON, Entry, Switch, Times};
use super::{Cli, Command, Role, help};
use crate::cli::exit::{Exit, Failure};

fn read(line: &str) -> Result<Cli, Failure> {
    Cli::read(line.split_whitespace().skip(1).map(OsString::from))
}

fn told(line: &str) -> String {
    match read(line).expect(line).command {
        Command::Tell(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    let failure = read(line).expect_err(line);
    assert_eq!(failure.exit, Exit::Usage, "{line}");
    failure.to_string()
}

/// A line that gives a command all it needs.
fn whole(entry: &Entry) -> String {
    let needed = entry.operands.iter().filter(|operand| operand.times == Times::Once);
    needed.fold(format!("kith {}", entry.name), |line, operand| format!("{line} {}", operand.name))
}

/// A value that each switch takes.
fn example(switch: &Switch) -> &'static str {
    match switch.long {
        "role" => "neighbour",
        _ => "key=value",
    }
}

#[test]
fn whatever_stands_in_the_table_is_taken_and_stands_in_the_help() {
    let program = told("kith --help");
    for entry in COMMANDS {
        let line = whole(entry);
        assert!(read(&line).is_ok(), "{line}: {:?}", read(&line).err());
        assert!(program.contains(&format!("  {}  ", entry.name)), "{program}");
        assert!(program.contains(entry.about), "{program}");
        let help = told(&format!("kith {} --help", entry.name));
        for operand in entry.operands {
            assert!(help.contains(operand.name) && help.contains(operand.about), "{help}");
        }
        for switch in entry.switches.iter().chain(COMMON) {
            assert!(help.contains(&format!("--{}", switch.long)), "{help}");
            assert!(switch.about.lines().all(|line| help.contains(line)), "{help}");
            let mut spelled = vec![format!("--{}", switch.long)];
            spelled.extend(switch.short.map(|letter| format!("-{letter}")));
            for spelled in spelled {
                let lines = match switch.value {
                    None => vec![format!("{line} {spelled}")],
                    Some(name) => {
                        assert!(help.contains(&format!("--{} {name}", switch.long)), "{help}");
                        let value = example(switch);
                        vec![format!("{line} {spelled} {value}"), format!("{line} {spelled}={value}")]
                    }
                };
                for line in lines {
                    assert!(read(&line).is_ok(), "{line}: {:?}", read(&line).err());
                }
            }
        }
    }
}

#[test]
fn names_are_given_once() {
    for entry in COMMANDS {
        assert_eq!(COMMANDS.iter().filter(|other| other.name == entry.name).count(), 1, "{}", entry.name);
        let switches: Vec<_> = entry.switches.iter().chain(COMMON).collect();
        for switch in &switches {
            let alike = |other: &&&Switch| {
                other.long == switch.long || (other.short.is_some() && other.short == switch.short)
            };
            assert_eq!(switches.iter().filter(alike).count(), 1, "{} --{}", entry.name, switch.long);
        }
    }
}

#[test]
fn help_fits_a_terminal_of_80_columns() {
    for path in [""].into_iter().chain(COMMANDS.iter().map(|entry| entry.name)).chain(["config"]) {
        let help = help::of(path).expect(path);
        for line in help.lines() {
            assert!(line.chars().count() <= 80 && line == line.trim_end(), "{path}: {line:?}");
        }
    }
}

#[test]
fn help_is_the_same_however_it_is_asked_for() {
    let of_get = told("kith get --help");
    for line in ["kith help get", "kith get -h", "kith --data-dir /d get --help", "kith get http://e/ --help"]
    {
        assert_eq!(told(line), of_get, "{line}");
    }
    assert_eq!(told("kith help"), told("kith --help"));
    assert_eq!(told("kith help config show"), told("kith config show --help"));
    for command in ["config check", "config show"] {
        assert!(told("kith config --help").contains(command), "{command}");
    }
    for line in ["kith --version", "kith -V", "kith status --version"] {
        assert_eq!(told(line), concat!("kith ", env!("CARGO_PKG_VERSION")), "{line}");
    }
}

#[test]
fn options_of_every_command_stand_before_or_after_it() {
    for line in [
        "kith --data-dir /d --config /c --set a.b=1 --set c=d=e --log debug",
        "kith run --data-dir=/d --config=/c --set=a.b=1 --set c=d=e --log=debug",
        "kith --data-dir /d --config /c status --json --set a.b=1 --set c=d=e --log debug",
        "kith --data-dir /d --set a.b=1 config --config /c check --set c=d=e --log debug",
    ] {
        let common = read(line).expect(line).common;
        assert_eq!(common.data_dir.as_deref(), Some("/d".as_ref()), "{line}");
        assert_eq!(common.config.as_deref(), Some("/c".as_ref()), "{line}");
        let pairs: Vec<_> = common.overrides.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a.b", "1"), ("c", "d=e")], "{line}");
        assert_eq!(common.log.as_deref(), Some("debug"), "{line}");
    }
    let common = read("kith --config /a status --config /b").expect("taken").common;
    assert_eq!(common.config.as_deref(), Some("/b".as_ref()), "the last one counts");
}

#[test]
fn each_command_takes_what_the_contract_says() {
    for line in [
        "kith",
        "kith run",
        "kith get http://e/x -o f --json",
        "kith get -of http://e/x",
        "kith get --json -- http://e/x",
        "kith status --json",
        "kith neighbours",
        "kith objects --json",
        "kith pair",
        "kith pair --json",
        "kith pair attic 12345678",
        "kith pair attic 12345678 --role neighbour",
        "kith unpair attic",
        "kith pin http://e/x",
        "kith unpin 00",
        "kith purge e",
        "kith explain http://e/x --json",
        "kith config check",
        "kith config show --set name=x",
        "kith doctor --json",
    ] {
        assert!(read(line).is_ok(), "{line}: {:?}", read(line).err());
    }
}

#[test]
fn what_is_read_is_what_was_said() {
    let Command::Get(get) = read("kith get -o f http://e/x --json").expect("taken").command else {
        panic!("not a download");
    };
    assert_eq!((get.url.as_str(), get.output.as_deref()), ("http://e/x", Some("f".as_ref())));
    assert!(get.format.json);
    let Command::Pair(pair) = read("kith pair attic 12345678").expect("taken").command else {
        panic!("not a pairing");
    };
    assert_eq!(pair.guest, Some(("attic".to_owned(), "12345678".to_owned())));
    assert_eq!((pair.role, pair.format.json), (Role::Mine, false));
    let Command::Pair(pair) = read("kith pair --role neighbour").expect("taken").command else {
        panic!("not a pairing");
    };
    assert_eq!((pair.guest, pair.role), (None, Role::Neighbour));
}

#[test]
fn whoever_errs_hears_what_is_wrong_and_where_it_is_told_right() {
    for (line, message) in [
        ("kith get", "get: the URL is missing; see `kith get --help`"),
        ("kith pair attic", "pair: the CODE that the box shows is missing; see `kith pair --help`"),
        (
            "kith pair attic 1 --role stranger",
            "pair: --role is mine or neighbour, not stranger; see `kith pair --help`",
        ),
        ("kith publish x", "there is no command publish; `kith --help` lists all"),
        ("kith stats", "there is no command stats (did you mean status?); `kith --help` lists all"),
        ("kith help stats", "there is no command stats (did you mean status?); `kith --help` lists all"),
        ("kith --set novalue", "--set takes KEY=VALUE, such as store.size=20GiB; see `kith --help`"),
        ("kith config", "config: say config check or config show; see `kith config --help`"),
        ("kith status extra", "status: extra is too much; see `kith status --help`"),
        (
            "kith status --jso",
            "status: there is no option --jso (did you mean --json?); see `kith status --help`",
        ),
        ("kith -x", "there is no option -x; see `kith --help`"),
        ("kith --json status", "there is no option --json; see `kith --help`"),
    ] {
        assert_eq!(refused(line), message, "{line}");
    }
    for line in ["kith status --json=yes", "kith get http://e/x --output", "kith --config"] {
        let message = refused(line);
        assert!(message.contains("--"), "{line}: {message}");
    }
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_utf_8_and_urls_do() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = || OsString::from_vec(b"\xff".to_vec());
    let words = |words: [OsString; 4]| Cli::read(words);
    let cli = words(["get".into(), "http://e/x".into(), "-o".into(), odd()]).expect("a path");
    assert!(matches!(cli.command, Command::Get(get) if get.output == Some(odd().into())));
    let failure = words(["get".into(), odd(), "-o".into(), "f".into()]).expect_err("not a URL");
    assert_eq!(failure.exit, Exit::Usage);
}
