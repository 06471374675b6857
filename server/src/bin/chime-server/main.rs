//! The command `chime-server`: settings, sockets, logs, clock and signals.

mod activation;
mod admin;
mod clock;
mod completions;
mod configuration;
mod control;
mod descriptors;
mod file;
mod flags;
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

use chime_server::{Addresses, Counter, CounterSnapshot, Networks, Options, RateLimit, Sockets};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::activation::InheritedSockets;
use crate::configuration::Configuration;
use crate::control::Control;
use crate::flags::{Flags, NetworkArg};

/// The manual page.
const MANUAL: &[u8] = include_bytes!("../../../deploy/chime-server.8");

fn main() -> ExitCode {
    // First of all: no other thread may run, and no signal may be lost during startup.
    let prepared = InheritedSockets::take().and_then(|inherited| Ok((inherited, Control::new()?)));
    let configuration = Configuration::from_process();
    let flags = &configuration.flags;
    logs::start(flags.log, flags.log_format);
    let result = if flags.manual {
        let printed = io::stdout().write_all(MANUAL);
        printed.map_err(|error| format!("cannot print the manual: {error}").into())
    } else if let Some(shell) = flags.completions {
        let printed = io::stdout().write_all(&completions::script(shell));
        printed.map_err(|error| format!("cannot print the completions: {error}").into())
    } else if flags.check_config {
        for name in configuration::unknown_variables() {
            // Not in the log, whose level may hide it.
            let _ = writeln!(
                io::stderr(),
                "chime-server: unknown environment variable {name}"
            );
        }
        let text = configuration.to_toml().map_err(io::Error::other);
        let printed = text.and_then(|text| io::stdout().write_all(text.as_bytes()));
        printed.map_err(|error| format!("cannot print the settings: {error}").into())
    } else {
        let prepared = prepared.map_err(Into::into);
        prepared.and_then(|(inherited, control)| run(&configuration, inherited, control))
    };
    let failure = result.err();
    if let Some(error) = &failure {
        logs::report(&**error, flags.log_format);
    }
    logs::flush();
    failure.map_or(ExitCode::SUCCESS, |_| ExitCode::FAILURE)
}

fn run(
    configuration: &Configuration,
    inherited: InheritedSockets,
    control: Control,
) -> Result<(), Box<dyn Error>> {
    let flags = &configuration.flags;
    if !flags.utc {
        clock::warn_of_unknown_time_zone();
    }
    let workers = match flags.workers {
        Some(workers) => workers,
        None => thread::available_parallelism()?,
    };
    let limit = descriptors::raise_limit()?;
    let sockets = open_sockets(configuration, inherited)?;
    let admin = flags.admin.map(admin::bind).transpose()?;
    let (admin, admin_address) = admin.unzip();
    let (tcp, udp) = (sockets.tcp_addresses()?, sockets.udp_addresses()?);
    let sockets_count = tcp.len() + udp.len();
    let wanted = flags.max_connections;
    let (connections_max, refusals_max) =
        descriptors::connections_max(wanted, limit, workers, sockets_count)?;
    let stop = CancellationToken::new();
    let options = options(flags, connections_max, refusals_max);
    let workers = sockets.start(workers, &options, &stop)?;
    control.start(stop, flags.drain_delay, admin, workers.stats());
    announce(&tcp, &udp, admin_address)
        .map_err(|error| format!("cannot announce the sockets on standard output: {error}"))?;
    log_summary(&workers.join()?);
    Ok(())
}

fn options(flags: &Flags, connections_max: NonZero<u32>, refusals_max: usize) -> Options {
    let networks = |networks: &[NetworkArg]| networks.iter().map(|network| network.0).collect();
    let addresses = flags.max_connections_per_address.map(Addresses::new);
    let clock = if flags.utc { clock::utc } else { clock::local };
    Options {
        refusals: Arc::new(Semaphore::new(refusals_max)),
        addresses: addresses.map(Arc::new),
        networks: Networks {
            allowed: networks(&flags.allow),
            denied: networks(&flags.deny),
        },
        datagram_rate: flags.udp_rate.map(RateLimit::new).map(Arc::new),
        idle_timeout: flags.idle_timeout,
        line_timeout: flags.line_timeout,
        write_timeout: flags.write_timeout,
        drain_timeout: flags.drain_timeout,
        ..Options::new(clock, connections_max)
    }
}

/// Binds the configured addresses, and adds the inherited sockets.
fn open_sockets(
    configuration: &Configuration,
    inherited: InheritedSockets,
) -> Result<Sockets, Box<dyn Error>> {
    let is_inherited = !inherited.is_empty();
    let tcp = configuration.tcp(is_inherited);
    let mut sockets = Sockets::bind(&tcp, &configuration.udp(is_inherited))?;
    if !configuration.flags.no_tcp {
        for listener in inherited.tcp {
            sockets.adopt_listener(listener, configuration.listener_config())?;
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

/// Prints a line for each socket, which signals to other programs that they can connect.
fn announce(tcp: &[SocketAddr], udp: &[SocketAddr], admin: Option<SocketAddr>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for (kind, addresses) in [("tcp", tcp), ("udp", udp), ("admin", admin.as_slice())] {
        for address in addresses {
            writeln!(stdout, "listening on {kind} {address}")?;
        }
    }
    stdout.flush()
}

fn log_summary(snapshot: &CounterSnapshot) {
    use Counter::{AddressRefused, ConnectionRefused, DatagramIgnored, DatagramLimited};
    use Counter::{ConnectionServed, DatagramAnswered, HeaderRejected, NetworkDenied};

    let sum = |counters: &[Counter]| {
        counters
            .iter()
            .map(|counter| snapshot[*counter])
            .sum::<u64>()
    };
    info!(
        "stopped: connections: {} served, {} refused; datagrams: {} answered, {} ignored",
        snapshot[ConnectionServed],
        sum(&[
            ConnectionRefused,
            AddressRefused,
            NetworkDenied,
            HeaderRejected
        ]),
        snapshot[DatagramAnswered],
        sum(&[DatagramIgnored, DatagramLimited]),
    );
}

/// Tokio aligns tasks and registrations to 128 bytes, which wastes memory with glibc's allocator.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
