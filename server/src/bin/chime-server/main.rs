//! The command `chime-server`: settings, logs, clock and signals.

mod activation;
mod admin;
mod configuration;
mod control;
mod file;
mod flags;
#[cfg(test)]
mod generated;
mod listener;
mod logs;
mod metrics;

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use chime_server::{Addresses, Event, Networks, Options, RateLimit, Sockets, Tally};
use chrono::{Local, Utc};
use nix::sys::resource::{Resource, getrlimit};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::activation::Inherited;
use crate::configuration::Configuration;
use crate::control::{Control, Duties};
use crate::flags::Flags;

/// File descriptors that are not for connections.
const DESCRIPTORS_RESERVED: u64 = 64;

fn main() -> ExitCode {
    // Before anything else: no other thread runs, and no signal is lost while the server starts.
    let prepared = Inherited::take().and_then(|inherited| Ok((inherited, Control::new()?)));
    let configuration = Configuration::of_process();
    let flags = &configuration.flags;
    if flags.check_config {
        return print(&configuration);
    }
    logs::start(flags.log, flags.log_format);
    let result = prepared
        .map_err(Into::into)
        .and_then(|(inherited, control)| run(&configuration, inherited, control));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logs::tell_failure(&*error, flags.log_format);
            ExitCode::FAILURE
        }
    }
}

fn print(configuration: &Configuration) -> ExitCode {
    let write = |text: String| io::stdout().write_all(text.as_bytes());
    let printed = configuration.to_toml().map_err(io::Error::other);
    match printed.and_then(write) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chime-server: cannot print the settings: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    configuration: &Configuration,
    inherited: Inherited,
    control: Control,
) -> Result<(), Box<dyn Error>> {
    let flags = &configuration.flags;
    let workers = match flags.workers {
        Some(workers) => workers,
        None => thread::available_parallelism()?,
    };
    let options = options(flags)?;
    let sockets = open(configuration, inherited)?;
    let admin = flags.admin.map(admin::bind).transpose()?;
    let (admin, admin_address) = admin.unzip();
    announce(&sockets, admin_address)?;
    let stop = CancellationToken::new();
    let workers = sockets.start(workers, &options, &stop)?;
    control.start(Duties {
        stop,
        drain_delay: flags.drain_delay,
        admin,
        monitor: workers.monitor(),
    });
    log_stop(&workers.join()?);
    Ok(())
}

fn options(flags: &Flags) -> io::Result<Options> {
    let clock = if flags.utc {
        || Utc::now().naive_utc()
    } else {
        || Local::now().naive_local()
    };
    let addresses = flags.max_connections_per_address.map(Addresses::new);
    Ok(Options {
        addresses: addresses.map(Arc::new),
        networks: Networks {
            allowed: flags.allow.clone(),
            denied: flags.deny.clone(),
        },
        datagram_rate: flags.udp_rate.map(RateLimit::new).map(Arc::new),
        idle_timeout: flags.idle_timeout,
        line_timeout: flags.line_timeout,
        write_timeout: flags.write_timeout,
        drain_timeout: flags.drain_timeout,
        ..Options::new(clock, connections_max(flags)?)
    })
}

/// As many connections as are wanted and as file descriptors allow.
fn connections_max(flags: &Flags) -> io::Result<NonZero<u32>> {
    let wanted = flags.max_connections;
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let possible = descriptors.saturating_sub(DESCRIPTORS_RESERVED);
    let possible = u32::try_from(possible).unwrap_or(u32::MAX);
    let possible = NonZero::new(possible).unwrap_or(NonZero::<u32>::MIN);
    if wanted > possible {
        warn!(
            "serving at most {possible} connections at one time, \
             as the limit of open files is {descriptors} (ulimit -n)"
        );
    }
    Ok(wanted.min(possible))
}

/// Binds what is configured, and takes what is inherited.
fn open(configuration: &Configuration, inherited: Inherited) -> Result<Sockets, Box<dyn Error>> {
    let is_inherited = !inherited.is_empty();
    let tcp = configuration.tcp(is_inherited);
    let mut sockets = Sockets::bind(&tcp, &configuration.udp(is_inherited))?;
    if !configuration.flags.no_tcp {
        for listener in inherited.tcp {
            sockets.adopt_listener(listener, configuration.offer())?;
        }
    }
    if !configuration.flags.no_udp {
        for socket in inherited.udp {
            sockets.adopt_datagrams(socket)?;
        }
    }
    if sockets.tcp_addresses()?.is_empty() && sockets.udp_addresses()?.is_empty() {
        return Err("--no-tcp and --no-udp leave no inherited socket to serve".into());
    }
    Ok(sockets)
}

/// Prints a line for each socket, by which other programs know that they can connect.
fn announce(sockets: &Sockets, admin: Option<SocketAddr>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for address in sockets.tcp_addresses()? {
        writeln!(stdout, "listening on tcp {address}")?;
    }
    for address in sockets.udp_addresses()? {
        writeln!(stdout, "listening on udp {address}")?;
    }
    if let Some(address) = admin {
        writeln!(stdout, "listening on admin {address}")?;
    }
    stdout.flush()
}

fn log_stop(tally: &Tally) {
    let refusals = [
        Event::ConnectionRefused,
        Event::AddressRefused,
        Event::NetworkDenied,
        Event::HeaderRejected,
    ];
    let unanswered = [Event::DatagramIgnored, Event::DatagramLimited];
    let sum = |events: &[Event]| events.iter().map(|event| tally[*event]).sum::<u64>();
    info!(
        "stopped: {} connections served, {} refused; {} datagrams answered, {} ignored",
        tally[Event::ConnectionServed],
        sum(&refusals),
        tally[Event::DatagramAnswered],
        sum(&unanswered),
    );
}

/// Tokio aligns its tasks and registrations to 128 bytes, for which the allocator of glibc leaves gaps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
