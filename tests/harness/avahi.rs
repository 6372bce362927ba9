//! avahi, the mDNS responder that most Linux machines have, with a message bus of its own.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::patience::until_true;
use crate::place::Place;
use crate::tool::{Said, run};

/// From its start until the bus is there.
const BUS_LIMIT: Duration = Duration::from_secs(20);

/// A running avahi. It and its bus end when dropped.
#[derive(Debug)]
pub struct Avahi {
    programs: Vec<Child>,
    bus: String,
    place: Place,
}

impl Avahi {
    /// Starts it there on `lan0`, for a machine called `host`.
    pub fn start(folder: &Path, place: &Place, host: &str) -> Result<Self> {
        let at = |name: &str| folder.join(name).display().to_string();
        let socket = at("bus");
        let policy = "<allow own='*'/><allow send_destination='*'/><allow receive_sender='*'/>";
        let bus = format!(
            "<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>\
             <policy context='default'>{policy}</policy></busconfig>"
        );
        std::fs::write(at("bus.conf"), bus)?;
        let config = format!("[server]\nhost-name={host}\nallow-interfaces=lan0\nuse-ipv6=no\n");
        std::fs::write(at("avahi.conf"), config)?;
        let bus = format!("unix:path={socket}");
        let mut avahi = Self { programs: Vec::new(), bus, place: place.clone() };
        let mut dbus = place.command("dbus-daemon");
        dbus.arg("--nofork").arg(format!("--config-file={}", at("bus.conf")));
        avahi.programs.push(dbus.stdout(Stdio::null()).spawn()?);
        until_true("the bus", BUS_LIMIT, || Path::new(&socket).exists())?;
        // Its process id stands in a file that the machine's own avahi may have; here it has a folder of its own.
        let begin = "mkdir -p /run/avahi-daemon && mount -t tmpfs none /run/avahi-daemon && exec \"$@\"";
        let mut daemon = place.command("unshare");
        daemon.args(["-m", "sh", "-c", begin, "sh", "avahi-daemon", "--no-drop-root", "--no-chroot", "-f"]);
        daemon.arg(at("avahi.conf")).env("DBUS_SYSTEM_BUS_ADDRESS", &avahi.bus);
        avahi.programs.push(daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        Ok(avahi)
    }

    /// Its bus, as programs are told of it.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// The address and port of each service of a kind that is found, with its name.
    pub fn browse(&self, kind: &str) -> Result<String> {
        self.ask("avahi-browse", &["-rtp", kind]).map(|said| said.out)
    }

    /// One of avahi's own programs.
    pub fn ask(&self, program: &str, words: &[&str]) -> Result<Said> {
        let mut command = self.place.command(program);
        run(command.args(words).env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus))
    }
}

impl Drop for Avahi {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}
