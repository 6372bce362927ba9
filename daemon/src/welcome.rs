//! What the box tells whoever starts it: where clients go, how it is asked, and who it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use kith_admin::house::Facts;

use crate::machine;

/// Printed once, when everything listens.
pub(crate) struct Welcome<'a> {
    /// The box.
    pub(crate) facts: &'a Facts,
    /// Where its data and control socket are.
    pub(crate) data_dir: &'a Path,
}

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { name, key_words, version, .. } = self.facts;
        write!(f, "kith {version}: box {name}")?;
        if !key_words.is_empty() {
            write!(f, ", key words {key_words}")?;
        }
        writeln!(f)?;
        let clients = first(&self.facts.clients);
        writeln!(f, "  proxy     http://{clients}")?;
        writeln!(f, "  prefix    http://{clients}/https://example.org/file.iso")?;
        writeln!(f, "  PAC       http://{clients}/proxy.pac")?;
        if !self.facts.admin.is_empty() {
            writeln!(f, "  admin     http://{}/api/v1/status", first(&self.facts.admin))?;
        }
        writeln!(f, "  data      {}", self.data_dir.display())?;
        write!(f, "  commands  kith status | kith get URL | kith pair  (each with --data-dir as here)")
    }
}

/// The first address as others in the house would type it.
fn first(listening: &[SocketAddr]) -> String {
    let Some(address) = listening.first() else { return String::new() };
    let reachable = match address.ip() {
        ip if ip.is_unspecified() => machine::lan_address().unwrap_or(IpAddr::from([127, 0, 0, 1])),
        ip => ip,
    };
    SocketAddr::new(reachable, address.port()).to_string()
}
