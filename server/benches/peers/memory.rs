//! The memory of a process.

use std::fs;
use std::io;
use std::process::Child;

/// Returns the private memory of the process, in bytes.
pub(crate) fn private_bytes(process: &Child) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id()))?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let kilobytes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kilobytes.sum::<u64>() * 1024)
}
