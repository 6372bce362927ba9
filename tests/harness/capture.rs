//! What goes over a cable: frames as tcpdump writes them down, taken apart as far as tests ask.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::place::Place;

/// A capture under way. Ended when dropped.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    folder: TempDir,
}

/// One frame on an Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What it says to be, when it is IP.
    pub packet: Option<Packet>,
}

/// An IP packet; no test here sends options or fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where from.
    pub from: IpAddr,
    /// Where to.
    pub to: IpAddr,
    /// TCP is 6, UDP is 17.
    pub protocol: u8,
    /// Of TCP and UDP; 0 for others.
    pub ports: (u16, u16),
    /// What stands behind the header of UDP, or of IP.
    pub payload: Vec<u8>,
}

impl Capture {
    /// Listens on an interface until it is ended; when this returns, it does. What does not pass `filter`, in tcpdump's
    /// words, is left out.
    pub fn start((place, interface): &(Place, String), filter: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = place.command("tcpdump");
        command.args(["-i", interface, "-n", "-U", "--immediate-mode", "-B", "16384", "-Z", "root", "-w"]);
        command.arg(folder.path().join("pcap")).arg(filter).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().context("starting tcpdump")?;
        let mut said = BufReader::new(child.stderr.take().context("piped")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            ensure!(said.read_line(&mut line)? > 0, "tcpdump ended at once");
        }
        // What it says at its end has to go somewhere.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(Self { child, folder })
    }

    /// Ends it: all frames since the start.
    pub fn end(mut self) -> Result<Vec<Frame>> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process has a number")?;
        kill_process(pid, Signal::INT)?;
        self.child.wait()?;
        let bytes = std::fs::read(self.path())?;
        let mut rest = bytes.get(24..).context("a capture has a header")?;
        let mut frames = Vec::new();
        while let Some((head, behind)) = rest.split_at_checked(16) {
            let length = usize::try_from(u32::from_ne_bytes(head[8..12].try_into()?))?;
            let (frame, behind) = behind.split_at_checked(length).context("a capture ends with a frame")?;
            frames.push(Frame { bytes: frame.to_vec(), packet: packet(frame) });
            rest = behind;
        }
        Ok(frames)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("pcap")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Frame {
    /// Whether these bytes stand somewhere in it.
    pub fn has(&self, needle: &[u8]) -> bool {
        self.bytes.windows(needle.len()).any(|window| window == needle)
    }

    /// Whether it is UDP at that port, on either side.
    pub fn is_udp(&self, port: u16) -> bool {
        let packet = self.packet.as_ref().filter(|packet| packet.protocol == 17);
        packet.is_some_and(|packet| packet.ports.0 == port || packet.ports.1 == port)
    }
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let ip = frame.get(14..)?;
    let v4 = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?).into());
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?).into());
    let (from, to, protocol, body): (IpAddr, IpAddr, u8, &[u8]) = match kind {
        0x0800 => (v4(12)?, v4(16)?, *ip.get(9)?, ip.get(4 * usize::from(ip.first()? & 15)..)?),
        0x86dd => (v6(8)?, v6(24)?, *ip.get(6)?, ip.get(40..)?),
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let ports = if matches!(protocol, 6 | 17) { (port(0)?, port(2)?) } else { (0, 0) };
    let payload = if protocol == 17 { body.get(8..)? } else { body };
    Some(Packet { from, to, protocol, ports, payload: payload.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_apart() {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x14, 0xe9, 0x21, 0x22, 0, 10, 0, 0, b'h', b'i']);
        let taken = packet(&frame).expect("a packet");
        assert_eq!((taken.from, taken.to), ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()));
        assert_eq!((taken.ports, &taken.payload[..]), ((5353, 8482), &b"hi"[..]));
        let frame = Frame { bytes: frame, packet: Some(taken) };
        assert!(frame.has(b"hi") && !frame.has(b"ho") && frame.is_udp(5353) && !frame.is_udp(53));
        assert_eq!(packet(&[0; 60]), None);
    }
}
