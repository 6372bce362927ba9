//! What processes cost: processor time and memory, as the kernel counts them.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context as _, Result};

/// `USER_HZ`: fixed at 100 in what Linux shows in `/proc` (`man 5 proc_pid_stat`).
const TICKS_A_SECOND: f64 = 100.0;

/// Processor time of a process and its living children, in seconds, user and kernel together.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let ticks: u64 = family(pid)?.into_iter().filter_map(|pid| Some(Stat::of(pid)?.ticks)).sum();
    Ok(f64::from(u32::try_from(ticks)?) / TICKS_A_SECOND)
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// As it is.
    pub now: u64,
    /// The most since its start.
    pub peak: u64,
}

/// `VmRSS` and `VmHWM` of a process.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = word.with_context(|| format!("no {name} of process {pid}"))?.parse()?;
        Ok(kib * 1024)
    };
    Ok(Memory { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// Nothing when the process ended in between.
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program may hold anything, also spaces and brackets.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let parent = u32::try_from(number(1)?).ok()?;
        Some(Self { parent, ticks: number(11)? + number(12)? })
    }
}

/// A process and its children. None of the measured programs has grandchildren.
fn family(pid: u32) -> Result<HashSet<u32>> {
    let names = fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok());
    let mut family: HashSet<u32> =
        pids.filter(|child| Stat::of(*child).is_some_and(|stat| stat.parent == pid)).collect();
    family.insert(pid);
    Ok(family)
}
