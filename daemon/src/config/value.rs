//! How each type of setting is read from a written value and shown again.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::layer::Value;
use super::settings::{Allow, Auto, Bootstrap, Dht, HostPort, Profile, Resolver, Touch, WorldShare};
use super::units::{ByteSize, Rate};

/// Most items in one list: a list is written by hand.
const ITEMS_MAX: usize = 256;

/// A type that a key can have. What `show` gives reads back as the same value.
pub(super) trait Setting: Sized {
    /// Reads it, or says what would be right.
    fn read(value: &Value) -> Result<Self, String>;
    /// Writes it as TOML.
    fn show(&self) -> toml::Value;
}

fn expected(what: &str, value: &Value) -> String {
    let found = match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(_) => "a list".to_owned(),
        Value::Other(what) => format!("a {what}"),
    };
    format!("expected {what}, found {found}")
}

fn text<'a>(what: &str, value: &'a Value) -> Result<&'a str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(expected(what, other)),
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Flag(flag) => Ok(*flag),
            other => Err(expected("true or false", other)),
        }
    }

    fn show(&self) -> toml::Value {
        (*self).into()
    }
}

impl Setting for u32 {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Number(number) => {
                u32::try_from(*number).map_err(|_| format!("{number} is not between 0 and {}", u32::MAX))
            }
            other => Err(expected("a whole number", other)),
        }
    }

    fn show(&self) -> toml::Value {
        i64::from(*self).into()
    }
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        text("text in quotes", value).map(str::to_owned)
    }

    fn show(&self) -> toml::Value {
        self.clone().into()
    }
}

impl Setting for PathBuf {
    fn read(value: &Value) -> Result<Self, String> {
        let path = text("a path in quotes", value)?;
        if path.is_empty() || path.contains('\0') {
            return Err(format!("{path:?} is no path"));
        }
        Ok(path.into())
    }

    fn show(&self) -> toml::Value {
        self.display().to_string().into()
    }
}

/// A directory that may be left to the box.
impl Setting for Option<PathBuf> {
    fn read(value: &Value) -> Result<Self, String> {
        PathBuf::read(value).map(Some)
    }

    fn show(&self) -> toml::Value {
        self.as_ref().map_or_else(|| String::new().into(), Setting::show)
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let what = "an address with a port like \"[::]:8480\"";
        text(what, value)?.parse().map_err(|_| expected(what, value))
    }

    fn show(&self) -> toml::Value {
        self.to_string().into()
    }
}

impl Setting for HostPort {
    fn read(value: &Value) -> Result<Self, String> {
        let what = "a host with a port like \"den.example.org:8482\"";
        let written = text(what, value)?;
        let is_name = |host: &str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            (1..=253).contains(&host.len()) && host.bytes().all(is_part)
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
        let is_address = || written.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
        let is_both = || written.split_once(':').is_some_and(|(host, port)| is_name(host) && is_port(port));
        if is_address() || is_both() { Ok(Self(written.to_owned())) } else { Err(expected(what, value)) }
    }

    fn show(&self) -> toml::Value {
        self.0.clone().into()
    }
}

impl Setting for IpNet {
    fn read(value: &Value) -> Result<Self, String> {
        let what = "a network like \"192.168.0.0/16\" or an address";
        let written = text(what, value)?;
        let lone = written.parse::<IpAddr>().map(IpNet::from);
        lone.or_else(|_| written.parse::<IpNet>().map(|net| net.trunc())).map_err(|_| expected(what, value))
    }

    fn show(&self) -> toml::Value {
        self.to_string().into()
    }
}

impl Setting for Allow {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text == "lan" => Ok(Allow::Lan),
            _ => IpNet::read(value)
                .map(Allow::Network)
                .map_err(|_| expected("\"lan\" or a network like \"192.168.0.0/16\"", value)),
        }
    }

    fn show(&self) -> toml::Value {
        match self {
            Allow::Lan => "lan".into(),
            Allow::Network(net) => net.show(),
        }
    }
}

impl Setting for ByteSize {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Number(number) => {
                u64::try_from(*number).map(ByteSize).map_err(|_| format!("{number} is less than no byte"))
            }
            other => text("a size like \"20GiB\"", other)?.parse(),
        }
    }

    fn show(&self) -> toml::Value {
        self.to_string().into()
    }
}

impl Setting for Rate {
    fn read(value: &Value) -> Result<Self, String> {
        text("a rate like \"40Mbit/s\"", value)?.parse()
    }

    fn show(&self) -> toml::Value {
        self.to_string().into()
    }
}

impl<T: Setting> Setting for Auto<T> {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text == "auto" => Ok(Auto::Auto),
            other => T::read(other).map(Auto::Set).map_err(|message| format!("{message}, or \"auto\"")),
        }
    }

    fn show(&self) -> toml::Value {
        match self {
            Auto::Auto => "auto".into(),
            Auto::Set(value) => value.show(),
        }
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::List(items) if items.len() > ITEMS_MAX => {
                Err(format!("{} items are more than {ITEMS_MAX}", items.len()))
            }
            Value::List(items) => items.iter().map(T::read).collect(),
            other => Err(expected("a list in brackets", other)),
        }
    }

    fn show(&self) -> toml::Value {
        toml::Value::Array(self.iter().map(Setting::show).collect())
    }
}

impl Setting for Resolver {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text == "system" => Ok(Resolver::System),
            _ => SocketAddr::read(value)
                .map(Resolver::Server)
                .map_err(|_| expected("\"system\" or \"ip:port\"", value)),
        }
    }

    fn show(&self) -> toml::Value {
        match self {
            Resolver::System => "system".into(),
            Resolver::Server(address) => address.show(),
        }
    }
}

impl Setting for Bootstrap {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) if text == "auto" => Ok(Bootstrap::Auto),
            _ => SocketAddr::read(value)
                .map(Bootstrap::Node)
                .map_err(|_| expected("\"auto\" or \"ip:port\"", value)),
        }
    }

    fn show(&self) -> toml::Value {
        match self {
            Bootstrap::Auto => "auto".into(),
            Bootstrap::Node(address) => address.show(),
        }
    }
}

/// Settings that are one of a few words.
macro_rules! words {
    ($type:ty, $($word:literal => $variant:path),+ $(,)?) => {
        impl Setting for $type {
            fn read(value: &Value) -> Result<Self, String> {
                let what = concat!("one of", $(" \"", $word, "\"",)+);
                match text(what, value)? {
                    $($word => Ok($variant),)+
                    _ => Err(expected(what, value)),
                }
            }

            fn show(&self) -> toml::Value {
                match self {
                    $($variant => $word.into(),)+
                }
            }
        }
    };
}

words!(Profile, "auto" => Profile::Auto, "router" => Profile::Router, "board" => Profile::Board, "server" => Profile::Server);
words!(Touch, "downloads" => Touch::Downloads, "daily" => Touch::Daily, "rfc9111" => Touch::Rfc9111);
words!(Dht, "auto" => Dht::Auto, "on" => Dht::On, "off" => Dht::Off);
words!(WorldShare, "off" => WorldShare::Off, "publisher" => WorldShare::Publisher, "hosts" => WorldShare::Hosts);
