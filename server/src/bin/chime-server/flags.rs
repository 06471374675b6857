//! The command line. Each setting is a flag, an environment variable and a key of the file.

use std::env;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{IntErrorKind, NonZero, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use chime_server::canonical;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, Command, CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

/// The version, and the commit if a packager sets `CHIME_COMMIT` when compiling.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("CHIME_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("{version} ({commit})"),
        _ => version.to_owned(),
    }
});

const SERVING: &str = "Serving";
const LIMITS: &str = "Limits";
const SHUTDOWN: &str = "Shutdown";
const OPERATION: &str = "Logs and monitoring";
const CONFIGURATION: &str = "Configuration";

/// Serves the day, the date, the time and digit sums over TCP and UDP.
///
/// Prints a line on standard output for each socket once clients can connect. SIGINT (Ctrl-C), SIGTERM and
/// SIGHUP start a graceful shutdown: the server replies to every request received, then exits with status 0.
/// A second signal, at least 200 ms later, ends it at once with status 1. Status 1 also means that a socket
/// could not be served, and status 2 a usage error or an invalid file.
///
/// A flag takes precedence over its environment variable, the variable over the file, and the file over the
/// default. An empty variable counts as unset.
/// Inherited sockets (LISTEN_FDS) and [[listener]] tables of the file replace the default addresses of --tcp
/// and --udp.
#[derive(Debug, Parser)]
#[command(version = VERSION.as_str())]
pub(crate) struct Flags {
    /// Address to serve over TCP, such as [::]:9990, or a port of localhost; may be given more than once
    #[arg(long, value_name = "ADDR", help_heading = SERVING)]
    #[arg(value_delimiter = ',', default_value = "127.0.0.1:9990", value_parser = address)]
    pub(crate) tcp: Vec<SocketAddr>,

    /// Address to serve over UDP; may be given more than once
    #[arg(long, value_name = "ADDR", help_heading = SERVING)]
    #[arg(value_delimiter = ',', default_value = "127.0.0.1:8089", value_parser = address)]
    pub(crate) udp: Vec<SocketAddr>,

    /// Do not serve TCP
    #[arg(long, help_heading = SERVING)]
    pub(crate) no_tcp: bool,

    /// Do not serve UDP
    #[arg(long, help_heading = SERVING)]
    pub(crate) no_udp: bool,

    /// Commands offered over TCP: day, date and time, digit sums, or both; quit and exit always work
    #[arg(long, value_name = "NAME", help_heading = SERVING)]
    #[arg(default_value = "both")]
    #[arg(value_parser = named::<Service, _>(Service::ALL, Service::name))]
    pub(crate) service: Service,

    /// What ends a command over TCP: a newline, or the end of one read (legacy clients)
    #[arg(long, value_name = "NAME", help_heading = SERVING)]
    #[arg(default_value = "line")]
    #[arg(value_parser = named::<Framing, _>(Framing::ALL, Framing::name))]
    pub(crate) framing: Framing,

    /// Use UTC instead of local time
    #[arg(long, help_heading = SERVING)]
    pub(crate) utc: bool,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", help_heading = SERVING)]
    #[arg(value_parser = positive::<NonZero<usize>>)]
    pub(crate) workers: Option<NonZero<usize>>,

    /// Concurrent connections; further clients get the reply that the server is full
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(default_value = "10000", value_parser = positive::<NonZero<u32>>)]
    pub(crate) max_connections: NonZero<u32>,

    /// Concurrent connections per address, or per IPv6 network /64 [default: no limit]
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = positive::<NonZero<u32>>)]
    pub(crate) max_connections_per_address: Option<NonZero<u32>>,

    /// Serve only clients of this network; may be given more than once [default: all]
    #[arg(long, value_name = "NET", help_heading = LIMITS)]
    #[arg(value_delimiter = ',')]
    pub(crate) allow: Vec<NetworkArg>,

    /// Do not serve clients of this network, even if allowed; may be given more than once [default: none]
    #[arg(long, value_name = "NET", help_heading = LIMITS)]
    #[arg(value_delimiter = ',')]
    pub(crate) deny: Vec<NetworkArg>,

    /// UDP replies per second for each network /24, or /56 for IPv6 [default: no limit]
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = positive::<NonZero<u32>>)]
    pub(crate) udp_rate: Option<NonZero<u32>>,

    /// Close a connection on which nothing is read or written for this long
    #[arg(long, value_name = "DURATION", help_heading = LIMITS)]
    #[arg(default_value = "300s", value_parser = duration)]
    pub(crate) idle_timeout: Duration,

    /// Close a connection if a line does not end within this time, plus 1 s per 500 bytes of it
    #[arg(long, value_name = "DURATION", help_heading = LIMITS)]
    #[arg(default_value = "10s", value_parser = duration)]
    pub(crate) line_timeout: Duration,

    /// Close a connection if the client reads no reply for this long, plus 1 s per 2,000 bytes written (at
    /// most 66 s)
    #[arg(long, value_name = "DURATION", help_heading = LIMITS)]
    #[arg(default_value = "30s", value_parser = duration)]
    pub(crate) write_timeout: Duration,

    /// On shutdown, keep accepting for this long while /readyz fails
    #[arg(long, value_name = "DURATION", help_heading = SHUTDOWN)]
    #[arg(default_value = "0s", value_parser = delay)]
    pub(crate) drain_delay: Duration,

    /// Cut connections that are still open this long after the drain delay
    #[arg(long, value_name = "DURATION", help_heading = SHUTDOWN)]
    #[arg(default_value = "10s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Minimum severity to log on standard error; debug logs each connection, trace its requests by kind
    #[arg(long, value_name = "LEVEL", help_heading = OPERATION)]
    #[arg(default_value = "info", ignore_case = true)]
    #[arg(value_parser = named::<LevelFilter, _>(LEVELS, |name| name))]
    pub(crate) log: LevelFilter,

    /// Format of the log
    #[arg(long, value_name = "NAME", help_heading = OPERATION)]
    #[arg(default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Address to serve /metrics, /healthz and /readyz over HTTP, without authentication [default: none]
    #[arg(long, value_name = "ADDR", help_heading = OPERATION, value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,

    /// Read settings from this TOML file; its keys are the names of these flags
    #[arg(long, value_name = "FILE", help_heading = CONFIGURATION)]
    pub(crate) config: Option<PathBuf>,

    /// Print the effective settings as a file for --config, warn of unknown variables CHIME_*, and exit
    #[arg(long, help_heading = CONFIGURATION)]
    pub(crate) check_config: bool,

    /// Print the manual page, for man -l -, and exit
    #[arg(long, help_heading = CONFIGURATION)]
    pub(crate) manual: bool,

    /// Print the completion script for this shell, and exit
    #[arg(long, value_name = "SHELL", help_heading = CONFIGURATION)]
    #[arg(value_parser = named::<Shell, _>(SHELLS, |name| name))]
    pub(crate) completions: Option<Shell>,
}

impl Flags {
    /// Returns the command, with an environment variable for each flag. An empty variable counts as unset.
    pub(crate) fn command_with_variables() -> Command {
        Flags::command().mut_args(|arg| {
            let arg = match arg.get_action() {
                ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
                _ => arg,
            };
            let variable = variable_of(&arg);
            match env::var_os(&variable) {
                Some(value) if value.is_empty() => arg,
                _ => arg.env(variable),
            }
        })
    }
}

/// The prefix of the environment variables of settings.
pub(crate) const VARIABLE_PREFIX: &str = "CHIME_";

/// Returns the environment variable of a flag.
pub(crate) fn variable_of(arg: &Arg) -> String {
    let name = arg.get_id().as_str().to_uppercase();
    format!("{VARIABLE_PREFIX}{name}")
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines
    Text,
    /// One JSON object per line
    Json,
    /// The same, with an object for each connection that has closed, at any level
    Access,
}

/// A network such as `10.0.0.0/8`, or a single address.
///
/// IPv4-mapped IPv6 (`::ffff:10.0.0.0/104`) is converted to IPv4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkArg(pub(crate) IpNet);

impl FromStr for NetworkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<NetworkArg, String> {
        let address = |_| text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or_else(address);
        let network = network.map_err(|_| "not a network such as 10.0.0.0/8 or 2001:db8::/32")?;
        match canonical(network) {
            IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some() => {
                Err("a network of IPv4-mapped addresses has a prefix of at least 96".to_string())
            }
            network => Ok(NetworkArg(network)),
        }
    }
}

impl fmt::Display for NetworkArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses an address with a port, or a port alone, which is one of 127.0.0.1, as is `localhost`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    let on_loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let address = text.parse().ok();
    let address = address.or_else(|| port.parse().map(on_loopback).ok());
    address
        .ok_or("expected an address such as 0.0.0.0:9990 or [::1]:9990, localhost:9990, or a port")
}

/// Parses a number greater than zero.
fn positive<N: FromStr<Err = ParseIntError>>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::Zero => "must be at least 1".to_string(),
            _ => error.to_string(),
        })
}

/// The names of log levels. [`LevelFilter`] also parses numbers and the empty string.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// The shells that completions are for.
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Returns a parser of the names of these values.
fn named<T, N>(all: &'static [N], name: fn(N) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>> + Clone + Send + Sync + 'static,
    N: Copy,
{
    PossibleValuesParser::new(all.iter().map(|one| name(*one))).try_map(|name| name.parse())
}

/// 100 years, in humantime's definition of a year. Adding it to the current time does not overflow.
const DURATION_MAX: Duration = Duration::from_secs(100 * 31_557_600);

/// Parses a duration longer than zero.
fn duration(text: &str) -> Result<Duration, String> {
    match delay(text)? {
        Duration::ZERO => Err("must be longer than zero".to_string()),
        duration => Ok(duration),
    }
}

/// Parses a duration, including zero.
fn delay(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > DURATION_MAX => Err("must be at most 100 years".to_string()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}
