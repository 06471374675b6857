//! The CPU time of a process.

use std::fs;
use std::io;
use std::process::Child;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Returns the CPU time of all threads of the process, with that of the kernel for them.
pub(crate) fn time(process: &Child) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    // The second field is the name in parentheses, which may contain blanks. The fields 14 and 15 are utime and stime.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let times = fields.split(' ').skip(11).take(2);
    let times: Vec<u64> = times.filter_map(|ticks| ticks.parse().ok()).collect();
    let [user, system] = times[..] else {
        return Err(io::Error::other(format!("no CPU time in: {stat}")));
    };
    let ticks = user + system;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second))
}
