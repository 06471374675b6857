//! The settings: each is a flag, an environment variable and a key of the file.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{IntErrorKind, NonZero, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};
use ipnet::{IpNet, Ipv4Net};
use tracing::level_filters::LevelFilter;

const SOCKETS: &str = "What is served";
const LIMITS: &str = "Limits";
const STOP: &str = "Stopping";
const OPERATION: &str = "Logs and monitoring";
const CONFIGURATION: &str = "Configuration";

/// Tells the day, the date, the time and the sum of digits, over TCP and UDP.
///
/// Prints a line on standard output for each socket, once it can be connected to. SIGINT (Ctrl-C),
/// SIGTERM and SIGHUP stop it: it answers what has been asked, then exits with 0. A second signal, at
/// least 200 ms later, ends it at once, with 1. If an address can't be served it exits with 1, on wrong
/// usage or a wrong file with 2.
///
/// A flag takes precedence over its environment variable, that over the file, and that over the default.
/// An empty variable counts as unset.
/// If sockets are inherited (LISTEN_FDS) or the file has [[listener]] tables, they are served in place
/// of the default addresses of --tcp and --udp.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Flags {
    /// Address to serve over TCP; may be given more than once
    #[arg(
        long,
        env = "CHIME_TCP",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:9990",
        help_heading = SOCKETS
    )]
    pub(crate) tcp: Vec<SocketAddr>,

    /// Address to serve over UDP; may be given more than once
    #[arg(
        long,
        env = "CHIME_UDP",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:8089",
        help_heading = SOCKETS
    )]
    pub(crate) udp: Vec<SocketAddr>,

    /// Do not serve TCP
    #[arg(long, env = "CHIME_NO_TCP", value_parser = FalseyValueParser::new(), help_heading = SOCKETS)]
    pub(crate) no_tcp: bool,

    /// Do not serve UDP
    #[arg(long, env = "CHIME_NO_UDP", value_parser = FalseyValueParser::new(), help_heading = SOCKETS)]
    pub(crate) no_udp: bool,

    /// Commands offered over TCP: all, or day, date and time, or digit sums; quit and exit in any case
    #[arg(
        long,
        env = "CHIME_SERVICE",
        value_name = "NAME",
        default_value = "both",
        value_parser = named::<Service>(Service::ALL.iter().map(|service| service.name())),
        help_heading = SOCKETS
    )]
    pub(crate) service: Service,

    /// Where a command ends over TCP: at the end of a line, or of what one read returns (legacy clients)
    #[arg(
        long,
        env = "CHIME_FRAMING",
        value_name = "NAME",
        default_value = "line",
        value_parser = named::<Framing>(Framing::ALL.iter().map(|framing| framing.name())),
        help_heading = SOCKETS
    )]
    pub(crate) framing: Framing,

    /// Tell the time in UTC, not in local time
    #[arg(long, env = "CHIME_UTC", value_parser = FalseyValueParser::new(), help_heading = SOCKETS)]
    pub(crate) utc: bool,

    /// Threads that serve [default: one for each core]
    #[arg(
        long,
        env = "CHIME_WORKERS",
        value_name = "N",
        value_parser = count::<NonZero<usize>>,
        help_heading = SOCKETS
    )]
    pub(crate) workers: Option<NonZero<usize>>,

    /// Connections served at one time; others are told that the server is full
    #[arg(
        long,
        env = "CHIME_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "10000",
        value_parser = count::<NonZero<u32>>,
        help_heading = LIMITS
    )]
    pub(crate) max_connections: NonZero<u32>,

    /// Connections that one address may have at one time, or one IPv6 network /64 [default: no limit]
    #[arg(
        long,
        env = "CHIME_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "N",
        value_parser = count::<NonZero<u32>>,
        help_heading = LIMITS
    )]
    pub(crate) max_connections_per_address: Option<NonZero<u32>>,

    /// Serve only clients of this network; may be given more than once [default: all]
    #[arg(
        long,
        env = "CHIME_ALLOW",
        value_name = "NET",
        value_delimiter = ',',
        help_heading = LIMITS
    )]
    pub(crate) allow: Vec<Network>,

    /// Do not serve clients of this network, even if allowed; may be given more than once [default: none]
    #[arg(
        long,
        env = "CHIME_DENY",
        value_name = "NET",
        value_delimiter = ',',
        help_heading = LIMITS
    )]
    pub(crate) deny: Vec<Network>,

    /// Datagrams answered a second for each network /24, or /56 of IPv6 [default: no limit]
    #[arg(
        long,
        env = "CHIME_UDP_RATE",
        value_name = "N",
        value_parser = count::<NonZero<u32>>,
        help_heading = LIMITS
    )]
    pub(crate) udp_rate: Option<NonZero<u32>>,

    /// Close a connection on which no byte moved for this long
    #[arg(
        long,
        env = "CHIME_IDLE_TIMEOUT",
        value_name = "DURATION",
        default_value = "300s",
        value_parser = duration,
        help_heading = LIMITS
    )]
    pub(crate) idle_timeout: Duration,

    /// Close a connection whose line does not end within this time, plus a second for each 500 bytes of it
    #[arg(
        long,
        env = "CHIME_LINE_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration,
        help_heading = LIMITS
    )]
    pub(crate) line_timeout: Duration,

    /// Close a connection whose client takes no byte of a reply for this long
    #[arg(
        long,
        env = "CHIME_WRITE_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration,
        help_heading = LIMITS
    )]
    pub(crate) write_timeout: Duration,

    /// After a signal to stop, go on accepting for this long, while /readyz says no
    #[arg(
        long,
        env = "CHIME_DRAIN_DELAY",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = delay,
        help_heading = STOP
    )]
    pub(crate) drain_delay: Duration,

    /// After the drain delay, cut connections that are still open after this long
    #[arg(
        long,
        env = "CHIME_DRAIN_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration,
        help_heading = STOP
    )]
    pub(crate) drain_timeout: Duration,

    /// Log what is at least this severe, on standard error
    #[arg(
        long,
        env = "CHIME_LOG",
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true,
        value_parser = named::<LevelFilter>(LEVELS),
        help_heading = OPERATION
    )]
    pub(crate) log: LevelFilter,

    /// What a line of the log looks like
    #[arg(
        long,
        env = "CHIME_LOG_FORMAT",
        value_name = "NAME",
        default_value = "text",
        help_heading = OPERATION
    )]
    pub(crate) log_format: LogFormat,

    /// Address to serve /metrics, /healthz and /readyz over HTTP, to whoever can reach it [default: none]
    #[arg(long, env = "CHIME_ADMIN", value_name = "ADDR", help_heading = OPERATION)]
    pub(crate) admin: Option<SocketAddr>,

    /// Read settings from this TOML file; its keys are the names of these flags
    #[arg(long, env = "CHIME_CONFIG", value_name = "FILE", help_heading = CONFIGURATION)]
    pub(crate) config: Option<PathBuf>,

    /// Print the settings in force, as a file for --config, and exit
    #[arg(
        long,
        env = "CHIME_CHECK_CONFIG",
        value_parser = FalseyValueParser::new(),
        help_heading = CONFIGURATION
    )]
    pub(crate) check_config: bool,
}

/// The shape of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// A JSON object
    Json,
}

/// A network, such as `10.0.0.0/8`; an address alone is a network of one.
///
/// IPv4 addresses that are written as IPv6 (`::ffff:10.0.0.0/104`) become IPv4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network(pub(crate) IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let network = text.parse::<IpNet>();
        let network = network
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| "not a network such as 10.0.0.0/8 or 2001:db8::/32")?;
        let IpAddr::V4(address) = network.addr().to_canonical() else {
            return Ok(Network(network));
        };
        let host_bits = network.max_prefix_len() - network.prefix_len();
        let prefix = 32_u8.checked_sub(host_bits);
        let prefix =
            prefix.ok_or("a network of IPv4-mapped addresses has a prefix of at least 96")?;
        Ipv4Net::new(address, prefix)
            .map(|network| Network(network.into()))
            .map_err(|error| error.to_string())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is not zero.
fn count<N: FromStr<Err = ParseIntError>>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::Zero => "must be at least 1".to_string(),
            _ => error.to_string(),
        })
}

/// The names of log levels, without the numbers that [`LevelFilter`] reads too.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads the name of a [`Service`] or of a [`Framing`].
fn named<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: Error + Send + Sync> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

/// Longer than any process lives, and short enough to be added to any time.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn duration(text: &str) -> Result<Duration, String> {
    match delay(text)? {
        Duration::ZERO => Err("must be longer than zero".to_string()),
        duration => Ok(duration),
    }
}

fn delay(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > DURATION_MAX => Err("must be at most 100 years".to_string()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}
