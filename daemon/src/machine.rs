//! What the machine is like: memory, disk, name, addresses. Facts that defaults are made from.
//!
//! Linux tells most of it in files; where one is missing the fact is unknown and the caller takes the careful side.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Space on the partition that holds a directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What this user may still take.
    pub free_bytes: u64,
}

/// Memory of the machine in bytes.
pub fn memory_bytes() -> Option<u64> {
    memory_of(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn memory_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Space of the partition; the directory need not exist yet.
pub fn space(directory: &Path) -> io::Result<Space> {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(existing)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total_bytes: bytes(stat.f_blocks), free_bytes: bytes(stat.f_bavail) })
}

/// The host's name, without its domain.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let short = name.trim().split('.').next().unwrap_or_default();
    if short.is_empty() { "kith".to_owned() } else { short.to_owned() }
}

/// Addresses of our own interfaces, those that are up.
pub fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.into_iter().map(|interface| interface.ip()).collect()
}

/// An address that others in the house can reach us at, IPv4 first since people type it.
pub fn lan_address() -> Option<IpAddr> {
    let reachable = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    };
    let mut found: Vec<_> = addresses().into_iter().filter(reachable).collect();
    found.sort_unstable();
    found.into_iter().next()
}

/// Largest receive buffer that a socket may ask for, in bytes.
pub fn receive_buffer_max() -> Option<u64> {
    fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory_of("MemFree: 1 kB\nMemTotal:         245760 kB\n"), Some(240 << 20));
        assert_eq!(memory_of("nothing"), None);
        assert_eq!(memory_of("MemTotal: many kB"), None);
    }

    #[test]
    fn the_space_of_a_directory_to_come_is_that_of_its_parent() {
        let directory = tempfile::tempdir().expect("a directory");
        let space = space(&directory.path().join("not/yet")).expect("told");
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    }
}
