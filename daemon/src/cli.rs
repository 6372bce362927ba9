//! The command line: reads it, loads the configuration once, does one thing and turns the outcome into an exit
//! code. Results go to standard output, everything else to standard error.

mod connection;
pub mod control;
mod doctor;
pub mod exit;
mod explain;
mod get;
pub mod grammar;
mod human;
mod neighbours;
mod owner;
mod shelf;
mod status;

/// Prints a line of data. Whoever does not want to read on, such as `head`, ends the program without a complaint.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write;
        if writeln!(std::io::stdout(), $($part)*).is_err() {
            std::process::exit(i32::from(crate::cli::exit::Exit::Ok as u8));
        }
    }};
}
use say;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use self::control::Control;
use self::exit::{Exit, Failure};
use self::grammar::{Cli, Command, Common};
use crate::config::{self, Given, Loaded};

/// Runs the program.
pub fn main() -> ExitCode {
    match Cli::read(std::env::args_os().skip(1)).and_then(dispatch) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("kith: {failure}");
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    if let Command::Tell(text) = &cli.command {
        say!("{text}");
        return Ok(Exit::Ok);
    }
    let given = given(&cli.common);
    let loaded = match (&cli.command, config::load(&given)) {
        // The doctor also looks at a configuration that is wrong.
        (Command::Doctor(format), outcome) => return Ok(doctor::run(outcome, *format)),
        (_, Ok(loaded)) => loaded,
        (_, Err(error)) => return Err(Failure::new(Exit::Usage, error.to_string())),
    };
    match cli.command {
        Command::Run => crate::run::run(&loaded, &log_filter(&cli.common, &given)),
        Command::Config(command) => Ok(configuration(command, &loaded)),
        command => talk(command, &loaded),
    }
}

/// A command that asks the box; the user may break it off.
fn talk(command: Command, loaded: &Loaded) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::General, format!("no runtime: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            done = ask(command, loaded) => done.map(|()| Exit::Ok),
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

async fn ask(command: Command, loaded: &Loaded) -> Result<(), Failure> {
    let control = Control::new(loaded.data_dir());
    match command {
        Command::Get(command) => get::run(&command, loaded).await,
        Command::Status(format) => status::run(&control, format).await,
        Command::Neighbours(format) => neighbours::list(&control, format).await,
        Command::Objects(format) => shelf::list(&control, format).await,
        Command::Pair(command) => neighbours::pair(&control, &command).await,
        Command::Unpair(neighbour) => neighbours::unpair(&control, &neighbour).await,
        Command::Group(command) => owner::group(&control, &command).await,
        Command::RotateKey(format) => owner::rotate_key(&control, format).await,
        Command::Pin(what) => shelf::pin(&control, &what).await,
        Command::Unpin(what) => shelf::unpin(&control, &what).await,
        Command::Purge(what) => shelf::purge(&control, &what).await,
        Command::Explain(command) => explain::run(&control, &command).await,
        Command::Run | Command::Config(_) | Command::Doctor(_) | Command::Tell(_) => Ok(()),
    }
}

fn configuration(command: grammar::Config, loaded: &Loaded) -> Exit {
    for key in config::keys::unheeded(&loaded.settings) {
        eprintln!("warning: {key} is set, but nothing in this build heeds it");
    }
    match command {
        grammar::Config::Check => {
            let files: Vec<_> = loaded.files.iter().map(|file| file.display().to_string()).collect();
            let read = if files.is_empty() { "no file, all defaults".to_owned() } else { files.join(", ") };
            say!("configuration ok ({read})");
        }
        // No key of this build holds a secret; one that does will be shown as "***".
        grammar::Config::Show => say!("{}", config::keys::show(&loaded.settings).trim_end()),
    }
    Exit::Ok
}

/// The only place where the environment is read.
fn given(common: &Common) -> Given {
    let mut environment = BTreeMap::new();
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    environment.extend(std::env::vars_os().filter_map(text));
    Given {
        file: common.config.clone(),
        data_dir: common.data_dir.clone(),
        overrides: common.overrides.clone(),
        environment,
    }
}

fn log_filter(common: &Common, given: &Given) -> String {
    let variable = || given.environment.get("KITH_LOG").cloned();
    common.log.clone().or_else(variable).unwrap_or_else(|| "info".to_owned())
}

/// Prints a page of the control interface: one object a line with its type, or a table.
fn print_json(kind: &str, value: &serde_json::Value) {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("type".to_owned(), kind.into());
    }
    say!("{value}");
}

/// Rows under a heading, each column as wide as its widest cell.
fn print_table(heading: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..heading.len()).map(width).collect();
    let heading: Vec<_> = heading.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say!("{}", cells.join("  ").trim_end());
    }
}

/// A text field of an answer; empty when it is not there.
fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A count of an answer; zero when it is not there.
fn count(value: &serde_json::Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

/// A value in a query (RFC 3986 section 2.1).
fn query_value(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
