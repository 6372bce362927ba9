//! Configuration: files, environment and command line, read once at the start and checked as a whole before any
//! port is bound.
//!
//! Owns the keys of the contract. Only this module reads configuration files and `KITH_*` variables; the rooms get
//! plain data of their own. [`parse`] is pure and takes any text.

pub mod keys;
pub mod layer;
pub mod settings;
pub mod units;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layer::{Entry, Fault, Place};
use settings::Settings;

/// The file of a box that runs as a service; beside it `conf.d/*.toml` is merged.
pub const SERVICE_FILE: &str = "/etc/kith/kith.toml";

/// Where a service keeps its data.
pub const SERVICE_DATA_DIR: &str = "/var/lib/kith";

/// Largest configuration file in bytes: it is written by hand.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Variables of the environment begin with this.
const VARIABLE_PREFIX: &str = "KITH_";

/// What the process was started with, as far as configuration goes.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--set`, as (key, value).
    pub overrides: Vec<(String, String)>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

/// Settings with where they come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings; the data directory is always set.
    pub settings: Settings,
    /// Files that were read, in order.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        self.settings.data_dir.as_deref().unwrap_or(Path::new("."))
    }
}

/// Why there are no settings. The user's to put right; every line names file, line and key.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Complaint>);

/// One thing to put right.
#[derive(Debug, thiserror::Error)]
pub enum Complaint {
    /// A file that cannot be read.
    #[error("{}: {cause}", .file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        cause: String,
    },
    /// A key or value.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// There is no place for data: neither set nor to be guessed.
    #[error("data_dir: no home directory is known; use --data-dir")]
    Homeless,
}

/// Reads one document into settings over the defaults. Pure: whatever the text, it returns.
pub fn parse(file: &str, text: &str) -> Result<Settings, Vec<Fault>> {
    let entries = layer::document(file, text).map_err(|fault| vec![fault])?;
    let mut settings = Settings::default();
    keys::apply(&mut settings, &entries)?;
    Ok(settings)
}

/// Reads and checks everything that was given.
pub fn load(given: &Given) -> Result<Loaded, ConfigError> {
    let files = files(given)?;
    let mut complaints = Vec::new();
    let mut entries = Vec::new();
    for file in &files {
        match read(file) {
            Ok(found) => entries.extend(found),
            Err(complaint) => complaints.push(complaint),
        }
    }
    entries.extend(variables(&given.environment));
    entries
        .extend(given.overrides.iter().map(|(key, text)| layer::assignment(key, text, Place::CommandLine)));
    if let Some(dir) = &given.data_dir {
        let text = dir.display().to_string();
        let value = layer::Value::Text(text);
        entries.push(Entry { key: "data_dir".to_owned(), value, raw: None, place: Place::CommandLine });
    }
    let mut settings = Settings::default();
    if let Err(faults) = keys::apply(&mut settings, &entries) {
        complaints.extend(faults.into_iter().map(Complaint::Fault));
    }
    if settings.data_dir.is_none() {
        settings.data_dir = default_data_dir(given, &files);
    }
    complaints.extend(settings.data_dir.is_none().then_some(Complaint::Homeless));
    complaints.extend(settings.origins.extra_ca_files.iter().filter_map(|file| unreadable(file)));
    if complaints.is_empty() { Ok(Loaded { settings, files }) } else { Err(ConfigError(complaints)) }
}

/// The named file alone, or the service's file with what lies beside it.
fn files(given: &Given) -> Result<Vec<PathBuf>, ConfigError> {
    let service = Path::new(SERVICE_FILE);
    let file = given.file.clone().unwrap_or_else(|| service.to_owned());
    if given.file.is_none() && !file.exists() {
        return Ok(Vec::new());
    }
    let mut files = vec![file.clone()];
    if file == service {
        files.extend(fragments(&service.with_file_name("conf.d"))?);
    }
    Ok(files)
}

fn fragments(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let (file, cause) = (directory.to_owned(), error.to_string());
            return Err(ConfigError(vec![Complaint::Unreadable { file, cause }]));
        }
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort_unstable();
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<Entry>, Complaint> {
    let unreadable = |cause: String| Complaint::Unreadable { file: file.to_owned(), cause };
    let size = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("{size} bytes are more than a configuration can have")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    Ok(layer::document(&file.display().to_string(), &text)?)
}

fn unreadable(file: &Path) -> Option<Complaint> {
    let error = std::fs::File::open(file).err()?;
    Some(Complaint::Unreadable { file: file.to_owned(), cause: format!("origins.extra_ca_files: {error}") })
}

/// `KITH_SECTION__KEY`; at the top `KITH_KEY`. Others of that prefix, such as `KITH_LOG`, are no settings.
fn variables(environment: &BTreeMap<String, String>) -> Vec<Entry> {
    let entry = |(name, text): (&String, &String)| {
        let spelt = name.strip_prefix(VARIABLE_PREFIX)?.to_ascii_lowercase();
        let key = match spelt.split_once("__") {
            Some((section, key)) => format!("{section}.{key}"),
            None => keys::KEYS.iter().any(|key| key.name == spelt).then_some(spelt)?,
        };
        Some(layer::assignment(&key, text, Place::Environment(name.clone())))
    };
    environment.iter().filter_map(entry).collect()
}

fn default_data_dir(given: &Given, files: &[PathBuf]) -> Option<PathBuf> {
    if files.first().is_some_and(|file| file == Path::new(SERVICE_FILE)) {
        return Some(SERVICE_DATA_DIR.into());
    }
    let absolute =
        |name: &str| given.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data_home = absolute("XDG_DATA_HOME");
    let home = || absolute("HOME").map(|home| home.join(".local/share"));
    data_home.or_else(home).map(|base| base.join("kith"))
}

#[cfg(test)]
mod tests {
    use super::settings::{Allow, Auto, Resolver};
    use super::units::ByteSize;
    use super::*;

    #[test]
    fn what_is_shown_reads_back_the_same() {
        let text = "name = \"attic\"\nprofile = \"board\"\ndata_dir = \"/srv/kith\"\n\
            [clients]\nlisten = [\"127.0.0.1:0\"]\nallow = [\"lan\", \"10.9.0.0/16\", \"fd00::1\"]\nhosts = [\"box.home\"]\n\
            [store]\nsize = \"20GiB\"\nreserve = 1000\n\
            [origins]\nresolver = \"127.0.0.1:53\"\nallow_private = [\"127.0.0.0/8\"]\ntouch = \"daily\"\n\
            [neighbours]\nupload_rate = \"40Mbit/s\"\n[world]\ndht = \"off\"\nbootstrap = [\"1.2.3.4:5\"]\n";
        let settings = parse("k.toml", text).expect("valid");
        assert_eq!(settings.store.size, Auto::Set(ByteSize(20 << 30)));
        assert_eq!(settings.clients.allow.len(), 3);
        assert_eq!(settings.clients.allow[0], Allow::Lan);
        assert_eq!(settings.origins.resolver, Resolver::Server("127.0.0.1:53".parse().expect("address")));
        assert_eq!(parse("shown", &keys::show(&settings)).as_ref(), Ok(&settings));
        let default = Settings::default();
        assert_eq!(parse("shown", &keys::show(&default)).as_ref(), Ok(&default));
        assert_eq!(keys::unheeded(&default), Vec::<&str>::new());
        assert_eq!(keys::unheeded(&settings), ["world.dht", "world.bootstrap"]);
    }

    #[test]
    fn each_fault_names_file_line_and_key() {
        for (text, expected) in [
            ("nmae = \"x\"", "k.toml:1: nmae: there is no such key; known are name, data_dir, profile"),
            ("\n[clients]\nlissten = []", "k.toml:3: clients.lissten: there is no such key"),
            ("[cleints]\nlisten = []", "k.toml:2: cleints.listen: there is no section [cleints]"),
            ("[cleints]", "k.toml:1: cleints.: there is no section [cleints]"),
            ("[clients]\nlisten = \"[::]:1\"", "k.toml:2: clients.listen: expected a list"),
            (
                "[clients]\n\nlisten = [\"1.2.3.4\"]",
                "k.toml:3: clients.listen: expected an address with a port",
            ),
            ("[clients]\nlisten = []", "k.toml:2: clients.listen: at least one"),
            ("[clients]\nallow = [\"all\"]", "k.toml:2: clients.allow: expected \"lan\" or a network"),
            ("[clients]\nallow = [\"0.0.0.0/0\"]", "k.toml:2: clients.allow: a cache for everybody"),
            ("[clients]\nconnect = 1", "k.toml:2: clients.connect: expected true or false, found 1"),
            ("[clients]\ninterfaces = [\"much-too-long-a-name\"]", "k.toml:2: clients.interfaces: "),
            ("[clients]\nhosts = [\"a b\"]", "k.toml:2: clients.hosts: "),
            ("[admin]\nlisten = [\"[::]:8480\"]", "k.toml:2: admin.listen: clients and admin"),
            ("[store]\nsize = \"20 apples\"", "k.toml:2: store.size: \"20 apples\" is no size"),
            ("[store]\nsize = -1", "k.toml:2: store.size: -1 is less than no byte"),
            ("[store]\nsize = 1.5", "k.toml:2: store.size: expected a size like \"20GiB\", found a fraction"),
            ("[origins]\nmax_connections_per_host = 0", "k.toml:2: origins.max_connections_per_host: "),
            (
                "[origins]\nresolver = \"dns\"",
                "k.toml:2: origins.resolver: expected \"system\" or \"ip:port\"",
            ),
            ("[origins]\ntouch = \"never\"", "k.toml:2: origins.touch: expected one of \"downloads\""),
            ("[neighbours]\nupload_rate = \"40\"", "k.toml:2: neighbours.upload_rate: \"40\" is no rate"),
            ("[shutdown]\ngrace_s = 99999999999", "k.toml:2: shutdown.grace_s: "),
            ("[shutdown]\ngrace_s = 4000", "k.toml:2: shutdown.grace_s: at most 3600"),
            ("profile = \"huge\"", "k.toml:1: profile: expected one of"),
            ("data_dir = \"\"", "k.toml:1: data_dir: \"\" is no path"),
            ("name = \"\"\"\na\"\"\"\nname = 1", "k.toml:3: "),
        ] {
            let faults = parse("k.toml", text).expect_err(text);
            assert!(faults[0].to_string().starts_with(expected), "{text:?} gave {}", faults[0]);
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = parse("k.toml", "a = 1\nb = 2\n[store]\nsize = \"x\"").expect_err("three faults");
        assert_eq!(faults.len(), 3);
    }

    #[test]
    fn later_layers_win_and_are_blamed() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("k.toml");
        std::fs::write(&file, "name = \"file\"\nprofile = \"router\"\n[shutdown]\ngrace_s = 1\n")
            .expect("written");
        let mut given = Given { file: Some(file), ..Given::default() };
        given.environment = [
            ("KITH_NAME", "variable"),
            ("KITH_SHUTDOWN__GRACE_S", "2"),
            ("KITH_LOG", "debug"),
            ("HOME", "/home/someone"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
        given.overrides = vec![("name".into(), "42".into())];
        let loaded = load(&given).expect("valid");
        assert_eq!(loaded.settings.name, "42");
        assert_eq!(loaded.settings.shutdown.grace_s, 2);
        assert_eq!(loaded.data_dir(), Path::new("/home/someone/.local/share/kith"));
        given.data_dir = Some("/tmp/elsewhere".into());
        assert_eq!(load(&given).expect("valid").data_dir(), Path::new("/tmp/elsewhere"));
        given.environment.insert("KITH_SHUTDOWN__GRACE".into(), "2".into());
        let error = load(&given).expect_err("no such key").to_string();
        assert!(error.starts_with("environment KITH_SHUTDOWN__GRACE: shutdown.grace: "), "{error}");
        given.environment.clear();
        given.overrides = vec![("clients.listen".into(), "nowhere".into())];
        let error = load(&given).expect_err("no address").to_string();
        assert!(error.starts_with("--set: clients.listen: "), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let given = Given { file: Some("/nonexistent/k.toml".into()), ..Given::default() };
        let error = load(&given).expect_err("no file").to_string();
        assert!(error.starts_with("/nonexistent/k.toml: "), "{error}");
    }
}
