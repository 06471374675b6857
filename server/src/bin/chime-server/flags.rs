//! The settings: each is a flag, an environment variable and a key of the file.

use std::env;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{IntErrorKind, NonZero, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use chime_server::canonical;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Command, CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

const SOCKETS: &str = "What is served";
const LIMITS: &str = "Limits";
const STOP: &str = "Stopping";
const OPERATION: &str = "Logs and monitoring";
const CONFIGURATION: &str = "Configuration";

/// Tells the day, the date, the time and the sum of digits, over TCP and UDP.
///
/// Prints a line on standard output for each socket, once it can be connected to. SIGINT (Ctrl-C),
/// SIGTERM and SIGHUP stop it: it replies to every request received, then exits with 0. A second signal, at
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
    #[arg(long, value_name = "ADDR", help_heading = SOCKETS)]
    #[arg(value_delimiter = ',', default_value = "127.0.0.1:9990")]
    pub(crate) tcp: Vec<SocketAddr>,

    /// Address to serve over UDP; may be given more than once
    #[arg(long, value_name = "ADDR", help_heading = SOCKETS)]
    #[arg(value_delimiter = ',', default_value = "127.0.0.1:8089")]
    pub(crate) udp: Vec<SocketAddr>,

    /// Do not serve TCP
    #[arg(long, help_heading = SOCKETS)]
    pub(crate) no_tcp: bool,

    /// Do not serve UDP
    #[arg(long, help_heading = SOCKETS)]
    pub(crate) no_udp: bool,

    /// Commands offered over TCP: all, or day, date and time, or digit sums; quit and exit in any case
    #[arg(long, value_name = "NAME", help_heading = SOCKETS)]
    #[arg(default_value = "both")]
    #[arg(value_parser = named::<Service, _>(Service::ALL, Service::name))]
    pub(crate) service: Service,

    /// Where a command ends over TCP: at the end of a line, or of what one read returns (legacy clients)
    #[arg(long, value_name = "NAME", help_heading = SOCKETS)]
    #[arg(default_value = "line")]
    #[arg(value_parser = named::<Framing, _>(Framing::ALL, Framing::name))]
    pub(crate) framing: Framing,

    /// Tell the time in UTC, not in local time
    #[arg(long, help_heading = SOCKETS)]
    pub(crate) utc: bool,

    /// Threads that serve [default: one for each core]
    #[arg(long, value_name = "N", help_heading = SOCKETS)]
    #[arg(value_parser = count::<NonZero<usize>>)]
    pub(crate) workers: Option<NonZero<usize>>,

    /// Connections served at one time; others are told that the server is full
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(default_value = "10000", value_parser = count::<NonZero<u32>>)]
    pub(crate) max_connections: NonZero<u32>,

    /// Connections that one address may have at one time, or one IPv6 network /64 [default: no limit]
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = count::<NonZero<u32>>)]
    pub(crate) max_connections_per_address: Option<NonZero<u32>>,

    /// Serve only clients of this network; may be given more than once [default: all]
    #[arg(long, value_name = "NET", help_heading = LIMITS)]
    #[arg(value_delimiter = ',')]
    pub(crate) allow: Vec<NetworkArg>,

    /// Do not serve clients of this network, even if allowed; may be given more than once [default: none]
    #[arg(long, value_name = "NET", help_heading = LIMITS)]
    #[arg(value_delimiter = ',')]
    pub(crate) deny: Vec<NetworkArg>,

    /// Datagrams answered a second for each network /24, or /56 of IPv6 [default: no limit]
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = count::<NonZero<u32>>)]
    pub(crate) udp_rate: Option<NonZero<u32>>,

    /// Close a connection on which no byte moved for this long
    #[arg(long, value_name = "DURATION", help_heading = LIMITS)]
    #[arg(default_value = "300s", value_parser = duration)]
    pub(crate) idle_timeout: Duration,

    /// Close a connection whose line does not end within this time, plus a second for each 500 bytes of it
    #[arg(long, value_name = "DURATION", help_heading = LIMITS)]
    #[arg(default_value = "10s", value_parser = duration)]
    pub(crate) line_timeout: Duration,

    /// Close a connection whose client reads no reply for this long, plus 1 s per 2,000 bytes written to
    /// it, at most 66 s
    #[arg(long, value_name = "DURATION", help_heading = LIMITS)]
    #[arg(default_value = "30s", value_parser = duration)]
    pub(crate) write_timeout: Duration,

    /// After a signal to stop, go on accepting for this long, while /readyz says no
    #[arg(long, value_name = "DURATION", help_heading = STOP)]
    #[arg(default_value = "0s", value_parser = delay)]
    pub(crate) drain_delay: Duration,

    /// After the drain delay, cut connections that are still open after this long
    #[arg(long, value_name = "DURATION", help_heading = STOP)]
    #[arg(default_value = "10s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Log what is at least this severe, on standard error
    #[arg(long, value_name = "LEVEL", help_heading = OPERATION)]
    #[arg(default_value = "info", ignore_case = true)]
    #[arg(value_parser = named::<LevelFilter, _>(LEVELS, |name| name))]
    pub(crate) log: LevelFilter,

    /// What a line of the log looks like
    #[arg(long, value_name = "NAME", help_heading = OPERATION)]
    #[arg(default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Address to serve /metrics, /healthz and /readyz over HTTP, to whoever can reach it [default: none]
    #[arg(long, value_name = "ADDR", help_heading = OPERATION)]
    pub(crate) admin: Option<SocketAddr>,

    /// Read settings from this TOML file; its keys are the names of these flags
    #[arg(long, value_name = "FILE", help_heading = CONFIGURATION)]
    pub(crate) config: Option<PathBuf>,

    /// Print the settings in force, as a file for --config, and exit
    #[arg(long, help_heading = CONFIGURATION)]
    pub(crate) check_config: bool,

    /// Print the completion script for this shell, and exit
    #[arg(long, value_name = "SHELL", help_heading = CONFIGURATION)]
    #[arg(value_parser = named::<Shell, _>(SHELLS, |name| name))]
    pub(crate) completions: Option<Shell>,
}

impl Flags {
    /// The command. Each of its flags is an environment variable too, which counts as unset if empty.
    pub(crate) fn command_with_variables() -> Command {
        Flags::command().mut_args(|arg| {
            let arg = match arg.get_action() {
                ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
                _ => arg,
            };
            let variable = arg.get_id().as_str().to_uppercase();
            let variable = format!("CHIME_{variable}");
            match env::var_os(&variable) {
                Some(value) if value.is_empty() => arg,
                _ => arg.env(variable),
            }
        })
    }
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

/// A number that is not zero.
fn count<N: FromStr<Err = ParseIntError>>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::Zero => "must be at least 1".to_string(),
            _ => error.to_string(),
        })
}

/// The names of log levels. [`LevelFilter`] reads numbers and the empty string too.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// The shells with completions.
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Reads the name of one of these.
fn named<T, N>(all: &'static [N], name: fn(N) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>> + Clone + Send + Sync + 'static,
    N: Copy,
{
    PossibleValuesParser::new(all.iter().map(|one| name(*one))).try_map(|name| name.parse())
}

/// Longer than any process lives, and short enough to be added to any time: 100 years, as humantime has
/// them.
const DURATION_MAX: Duration = Duration::from_secs(100 * 31_557_600);

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
