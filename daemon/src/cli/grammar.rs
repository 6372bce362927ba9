//! The grammar of the command line: words and options, without what they do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A neighbourhood web cache: the house's downloads, from the site and from next door.
#[derive(Debug, Parser)]
#[command(
    name = "kith",
    version,
    disable_help_subcommand = true,
    after_help = "Without a command the daemon runs, as with `kith run`.\n\
        Exit codes: 0 ok, 1 general, 2 usage or config, 3 not found, 4 refused by policy, 5 temporary, \
        6 network, 7 digest mismatch, 8 disk full, 9 daemon not reachable, 130 interrupted."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Read this configuration file [default: /etc/kith/kith.toml when it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the box keeps its data and its control socket
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Override a setting, such as store.size=20GiB
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    pub overrides: Vec<(String, String)>,
    /// What to log, such as debug or `info,kith_fetch=debug` [default: info, or `KITH_LOG`]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    Run,
    /// Download a URL through the running box, or straight from the origin without one
    Get(Get),
    /// Show how the box is doing
    Status(Output),
    /// Show the boxes next door
    Neighbours(Output),
    /// Show what lies on the shelf
    Objects(Output),
    /// Pair with a box next door: without arguments show a code, with them use the code the other box shows
    Pair(Pair),
    /// Forget a paired box
    Unpair(Unpair),
    /// Keep an object whatever else has to go
    Pin(What),
    /// Let an object go when space is needed
    Unpin(What),
    /// Throw away an object, what a URL stands for, or all of a host
    Purge(What),
    /// Tell why a URL is or is not stored, fresh, shared, and where its bytes came from
    Explain(Explain),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Check the machine and the configuration, and say what to do
    Doctor(Output),
}

/// `kith get`.
#[derive(Debug, Args)]
pub struct Get {
    /// http, https or ni URL
    #[arg(value_name = "URL")]
    pub url: String,
    /// Where to write it [default: the last part of the URL's path]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How to tell about it.
    #[command(flatten)]
    pub format: Output,
}

/// `kith explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// http or https URL
    #[arg(value_name = "URL")]
    pub url: String,
    /// How to tell about it.
    #[command(flatten)]
    pub format: Output,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `kith pair`.
#[derive(Debug, Args)]
pub struct Pair {
    /// Name, node id or address of the other box
    #[arg(value_name = "BOX", requires = "code")]
    pub neighbour: Option<String>,
    /// The eight digits it shows
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
    /// What the other box is for us
    #[arg(long, value_enum, default_value_t = Role::Mine)]
    pub role: Role,
    /// How to tell about it.
    #[command(flatten)]
    pub format: Output,
}

/// What a paired box is for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Of the same household
    Mine,
    /// Of another household
    Neighbour,
}

impl Role {
    /// As it stands in the control protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Mine => "mine",
            Role::Neighbour => "neighbour",
        }
    }
}

/// `kith unpair`.
#[derive(Debug, Args)]
pub struct Unpair {
    /// Name, node id or address of the box
    #[arg(value_name = "BOX")]
    pub neighbour: String,
}

/// What a command of the shelf is about.
#[derive(Debug, Args)]
pub struct What {
    /// A URL or an object id; for `purge` also a host
    #[arg(value_name = "URL|ID")]
    pub what: String,
}

/// `kith config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Config {
    /// Say whether the configuration is right
    Check,
    /// Print the configuration in effect, secrets masked
    Show,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as store.size=20GiB")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_stand_before_or_after_it() {
        for line in [
            "kith --data-dir /d --config /c --set a.b=1 --set c=d=e",
            "kith run --data-dir /d --config /c --set a.b=1 --set c=d=e",
            "kith --data-dir /d --config /c status --json --set a.b=1 --set c=d=e",
        ] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.common.data_dir.as_deref(), Some("/d".as_ref()), "{line}");
            assert_eq!(cli.common.config.as_deref(), Some("/c".as_ref()), "{line}");
            let pairs: Vec<_> = cli.common.overrides.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(pairs, [("a.b", "1"), ("c", "d=e")], "{line}");
        }
    }

    #[test]
    fn each_command_takes_what_the_contract_says() {
        for line in [
            "kith",
            "kith run",
            "kith get http://e/x -o f --json",
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
            "kith config check",
            "kith config show --set name=x",
            "kith doctor --json",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
        for line in [
            "kith get",
            "kith pair attic",
            "kith pair attic 1 --role stranger",
            "kith publish x",
            "kith --set novalue",
            "kith config",
            "kith status extra",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_no_failures() {
        for line in ["kith --help", "kith --version", "kith get --help"] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 0, "{line}");
        }
    }
}
