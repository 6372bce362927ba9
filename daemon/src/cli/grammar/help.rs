//! Help: the table, written out for people. No line is longer than a terminal of 80 columns is wide.

use super::table::{self, COMMANDS, COMMON, Entry, Operand, Switch, Times};
use crate::cli::exit::Failure;

const PURPOSE: &str = "A neighbourhood web cache: the house's downloads, from the site and next door";

const ENDING: &str = "\
Without a command the daemon runs, as with `kith run`.
`kith help COMMAND` or `kith COMMAND --help` tells more of a command.

Exit codes: 0 ok, 1 general, 2 usage or config, 3 not found, 4 refused by
policy, 5 temporary, 6 network, 7 digest mismatch, 8 disk full, 9 daemon not
reachable, 130 interrupted.";

/// What `--version` prints.
pub(super) fn version() -> String {
    format!("kith {}", env!("CARGO_PKG_VERSION"))
}

/// The help of a command, of those that begin with this word, or of the program.
pub(super) fn of(path: &str) -> Result<String, Failure> {
    if path.is_empty() {
        return Ok(program());
    }
    if let Some(entry) = table::entry(path) {
        return Ok(command(entry));
    }
    let group: Vec<_> = table::family(path).collect();
    if group.is_empty() {
        return Err(table::no_command(path));
    }
    let usage = format!("Usage: kith {path} COMMAND [OPTIONS]");
    Ok([usage, list("Commands", group.into_iter().map(line)), common()].join("\n\n"))
}

fn program() -> String {
    let usage = "Usage: kith [OPTIONS] [COMMAND]".to_owned();
    let commands = list("Commands", COMMANDS.iter().map(line));
    [PURPOSE.to_owned(), usage, commands, common(), ENDING.to_owned()].join("\n\n")
}

fn command(entry: &Entry) -> String {
    let mut parts = vec![entry.about.to_owned()];
    if !entry.more.is_empty() {
        parts.push(entry.more.to_owned());
    }
    let mut usage = vec![format!("Usage: kith {} [OPTIONS]", entry.name)];
    usage.extend(entry.operands.iter().map(placed));
    parts.push(usage.join(" "));
    if !entry.operands.is_empty() {
        let rows = entry.operands.iter().map(|operand| (operand.name.to_owned(), operand.about));
        parts.push(list("Arguments", rows));
    }
    if !entry.switches.is_empty() {
        parts.push(list("Options", entry.switches.iter().map(row)));
    }
    parts.push(common());
    parts.join("\n\n")
}

fn common() -> String {
    list("Options of every command", COMMON.iter().map(row))
}

fn line(entry: &Entry) -> (String, &'static str) {
    (entry.name.to_owned(), entry.about)
}

fn placed(operand: &Operand) -> String {
    match operand.times {
        Times::Once => operand.name.to_owned(),
        Times::Optional => format!("[{}]", operand.name),
        Times::Any => format!("[{}]...", operand.name),
    }
}

fn row(switch: &Switch) -> (String, &'static str) {
    let short = switch.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    let value = switch.value.map_or(String::new(), |value| format!(" {value}"));
    (format!("{short}--{}{value}", switch.long), switch.about)
}

/// Names on the left, what they mean on the right of the widest.
fn list(heading: &str, rows: impl Iterator<Item = (String, &'static str)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = vec![format!("{heading}:")];
    for (name, about) in rows {
        let mut name = name.as_str();
        for about in about.lines() {
            lines.push(format!("  {name:<width$}  {about}"));
            name = "";
        }
    }
    lines.join("\n")
}
