//! The command `chime-server`: flags, logs, clock and signals.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use chime_server::{Options, Sockets};
use chrono::{Local, Utc};
use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

/// File descriptors that are not for connections.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Tells the day, the date, the time and the sum of digits, over TCP and UDP.
///
/// Prints a line on standard output for each socket, once it can be connected to. SIGINT (Ctrl-C) and
/// SIGTERM stop it: it answers what has been asked, then exits with 0. A second signal ends it at once,
/// with 1. If an address can't be served it exits with 1, on wrong usage with 2.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Address to serve over TCP; may be given more than once
    #[arg(
        long,
        env = "CHIME_TCP",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:9990"
    )]
    tcp: Vec<SocketAddr>,

    /// Address to serve over UDP; may be given more than once
    #[arg(
        long,
        env = "CHIME_UDP",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:8089"
    )]
    udp: Vec<SocketAddr>,

    /// Do not serve TCP
    #[arg(long, env = "CHIME_NO_TCP", value_parser = FalseyValueParser::new())]
    no_tcp: bool,

    /// Do not serve UDP
    #[arg(long, env = "CHIME_NO_UDP", value_parser = FalseyValueParser::new())]
    no_udp: bool,

    /// Commands offered over TCP
    #[arg(
        long,
        env = "CHIME_SERVICE",
        value_name = "NAME",
        default_value = "both"
    )]
    service: ServiceName,

    /// Where a command ends over TCP
    #[arg(
        long,
        env = "CHIME_FRAMING",
        value_name = "NAME",
        default_value = "line"
    )]
    framing: FramingName,

    /// Tell the time in UTC, not in local time
    #[arg(long, env = "CHIME_UTC", value_parser = FalseyValueParser::new())]
    utc: bool,

    /// Threads that serve [default: one for each core]
    #[arg(long, env = "CHIME_WORKERS", value_name = "N")]
    workers: Option<NonZero<usize>>,

    /// Connections served at one time; others are told that the server is full
    #[arg(
        long,
        env = "CHIME_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "10000"
    )]
    max_connections: NonZero<u32>,

    /// Close a connection on which no byte moved for this long
    #[arg(long, env = "CHIME_IDLE_TIMEOUT", value_name = "DURATION", default_value = "300s", value_parser = duration)]
    idle_timeout: Duration,

    /// After a signal to stop, cut connections that are still open after this long
    #[arg(long, env = "CHIME_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    drain_timeout: Duration,

    /// Log what is at least this severe, on standard error: off, error, warn, info, debug or trace
    #[arg(long, env = "CHIME_LOG", value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
}

#[derive(Clone, Copy, ValueEnum)]
enum ServiceName {
    /// Everything
    Both,
    /// day, date, time, quit and exit
    DateTime,
    /// Digit sums, quit and exit
    DigitSum,
}

#[derive(Clone, Copy, ValueEnum)]
enum FramingName {
    /// At the end of a line
    Line,
    /// At the end of what one read returns, as old clients expect
    Read,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_max_level(flags.log)
        .init();
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chime-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let tcp = if flags.no_tcp { &[] } else { &flags.tcp[..] };
    let udp = if flags.no_udp { &[] } else { &flags.udp[..] };
    if tcp.is_empty() && udp.is_empty() {
        Flags::command()
            .error(
                ErrorKind::ArgumentConflict,
                "--no-tcp and --no-udp leave nothing to serve",
            )
            .exit();
    }
    let workers = match flags.workers {
        Some(workers) => workers,
        None => thread::available_parallelism()?,
    };
    let options = options(flags)?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let sockets = Sockets::bind(tcp, udp)?;
    announce(&sockets)?;
    let tally = sockets.serve(workers, &options, &stop)?;
    info!(
        "stopped: {} connections served, {} refused; {} datagrams answered, {} ignored",
        tally.connections_served,
        tally.connections_refused,
        tally.datagrams_answered,
        tally.datagrams_ignored,
    );
    Ok(())
}

fn options(flags: &Flags) -> io::Result<Options> {
    let connections_wanted = u64::from(flags.max_connections.get());
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let connections_possible = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    if connections_wanted > connections_possible {
        warn!(
            "serving at most {connections_possible} connections at one time, \
             as the limit of open files is {descriptors} (ulimit -n)"
        );
    }
    let connections = connections_wanted.min(connections_possible);
    Ok(Options {
        service: match flags.service {
            ServiceName::Both => Service::Both,
            ServiceName::DateTime => Service::DateTime,
            ServiceName::DigitSum => Service::DigitSum,
        },
        framing: match flags.framing {
            FramingName::Line => Framing::Line,
            FramingName::Read => Framing::Read,
        },
        clock: if flags.utc {
            || Utc::now().naive_utc()
        } else {
            || Local::now().naive_local()
        },
        connections: Arc::new(Semaphore::new(connections as usize)),
        idle_timeout: flags.idle_timeout,
        drain_timeout: flags.drain_timeout,
    })
}

/// Prints a line for each socket, by which other programs know that they can connect.
fn announce(sockets: &Sockets) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for address in sockets.tcp_addresses()? {
        writeln!(stdout, "listening on tcp {address}")?;
    }
    for address in sockets.udp_addresses()? {
        writeln!(stdout, "listening on udp {address}")?;
    }
    stdout.flush()
}

/// On the first signal the server is told to stop; on the second it ends at once.
fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async {
            let mut next = async || {
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            next().await;
            info!("stopping: no new connections, waiting for answers to be taken");
            stop.cancel();
            next().await;
            warn!("stopping at once");
            process::exit(1);
        })
    });
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than zero".to_string()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}
