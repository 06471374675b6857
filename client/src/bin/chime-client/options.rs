//! The command line and the environment.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chime_client::addresses::Family;
use chime_protocol::{Command, Request};
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::arguments;
use crate::bench;
use crate::completions::Shell;
use crate::digit_source::DigitSource;
use crate::endpoint::Endpoint;
use crate::names;
use crate::output_format::OutputFormat;
use crate::ping;
use crate::server_address::{ServerAddress, Transport};

const AFTER_HELP: &str = "\
Without a command, each line of standard input is a request: at a prompt if standard input and output \
are terminals and --json is not set, else pipelined. Replies are printed in order. Requests after quit or \
exit get no reply.

Several of day, date, time and now can be given in a row, also before help: they are answered in order. An error \
that the server replies to a command or to digits on the command line goes to standard error, unless --json is set.

Command names are case-insensitive. now is an alias of the request send time, also at the prompt and in \
a pipe.

The prompt takes sum DIGITS and send TEXT, too: sum 12345 is the request 12345. Tab completes, \
Ctrl-C clears the line, and Ctrl-D exits. The prompt reconnects after the \
server restarts, and keeps its history in chime/history under $XDG_STATE_HOME, or under ~/.local/state. \
Colours are used on terminals only, and never if NO_COLOR is set.

With --json, each reply is an object on a line of standard output. A failure prints no object, only a \
message on standard error. The members of the object:
  request   the request; null if it is the digits of a file or of standard input, or a line of a pipe that is longer \
than 256 bytes or not UTF-8
  reply     the text of the reply; null if the server closed instead, as some do after quit
  sum       the sum of digits, an integer of up to 64 bits; null if the reply is not a sum
  is_error  whether the reply is an error, which makes the exit code 1

Exit codes:
  0  success
  1  the server replied with an error, or is full
  2  invalid arguments or digits, or a file, standard input or standard output failed
  3  cannot connect, or the connection was lost
  4  timeout
  5  the server does not speak this protocol

Examples:
  chime-client day
  chime-client day date time
  chime-client --server '[::1]:9990' sum 12345
  chime-client sum --file digits.txt
  chime-client now --udp --timeout 2s
  chime-client now --json
  chime-client bench --connections 50 --in-flight 100 --duration 10s
  printf 'date\\ntime\\n' | chime-client
  tr -dc 0-9 </dev/urandom | head -c 1000000 | chime-client sum -
  chime-client manual | man -l -
  chime-client completions bash >>~/.bash_completion";

const NOT_FOR_UDP: &str = "UDP has only day, date, time, now, ping, and bench without --churn";
const WHITE_SPACE: &str = "the digits have white space between them; --ignore-whitespace allows it";
const NOT_OVER_TCP: &str = "--udp contradicts the scheme tcp:// of the server";
const NO_STEPS: &str = "--verbose cannot be used with bench or ping";

/// What the program does.
#[derive(Debug)]
pub(crate) enum Task {
    /// Send commands over UDP, one after the other.
    SendUdp(Vec<Command>),
    /// Send requests over TCP, one after the other.
    Send(Vec<String>),
    /// Sum the digits of a file or of standard input.
    Sum {
        source: DigitSource,
        ignores_white_space: bool,
    },
    /// Send the lines typed at a prompt as requests.
    Prompt,
    /// Send the lines of standard input as requests.
    ReadRequests,
    /// Load the server.
    Bench(bench::Plan),
    /// Measure round trips.
    Ping(ping::Flags),
    /// Print the completion script of a shell.
    PrintCompletions(Shell),
    /// Print the manual page.
    PrintManual,
}

/// A client for chime servers: prints the day, the date, the time, or the sum of digits.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,

    /// Use UDP: for day, date, time and now, also at a prompt, with up to three attempts, for ping and for
    /// bench
    #[arg(long, global = true)]
    udp: bool,

    /// The server, such as localhost, [::1]:9990, chime://localhost or udp://localhost; the default is
    /// 127.0.0.1, or ::1 with -6; the default port is 9990, or 8089 over UDP
    #[arg(long, global = true, env = "CHIME_SERVER", value_name = "HOST[:PORT]")]
    server: Option<ServerAddress>,

    /// The port, in place of that of --server
    #[arg(short, long, global = true, value_name = "PORT", value_parser = arguments::port)]
    port: Option<u16>,

    /// Timeout for connecting and for each whole reply, such as 500ms or 2s
    #[arg(
        long,
        global = true,
        env = "CHIME_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = arguments::timeout
    )]
    timeout: Duration,

    /// Print replies, or the reports of bench and ping, as JSON: one object a line
    #[arg(long, global = true)]
    json: bool,

    /// Print the address, the welcome, and the duration of each step
    #[arg(short, long, global = true)]
    verbose: bool,

    /// Use IPv4 addresses only
    #[arg(short = '4', global = true, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Use IPv6 addresses only
    #[arg(short = '6', global = true)]
    ipv6: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the weekday
    Day(More),
    /// Print the date, as 26-11-21
    Date(More),
    /// Print the time of day, as 06:32:06
    Time(More),
    /// Print the date and the time of day, with microseconds
    Now(More),
    /// Print the sum of the digits
    #[command(override_usage = "chime-client sum [OPTIONS] <DIGITS | - | --file <FILE>>")]
    Sum {
        /// A string of digits, or - to read any number of digits from standard input
        #[arg(value_parser = digits, required_unless_present = "file")]
        digits: Option<Digits>,

        /// Read the digits from a file of any size, or from standard input if it is -; white space at its
        /// end is ignored
        #[arg(long, value_name = "FILE", conflicts_with = "digits")]
        file: Option<PathBuf>,

        /// Ignore white space between the digits, too, such as that of several lines
        #[arg(long)]
        ignore_whitespace: bool,
    },
    /// Print the commands of the protocol, as listed by the server; help COMMAND prints its options
    Help,
    /// Send one line unchanged and print the reply; send time is the same as now
    Send {
        /// The line, without its newline; words are joined by a space
        #[arg(value_name = "TEXT", required = true, value_parser = arguments::line)]
        words: Vec<String>,
    },
    /// Generate load for a server of any line protocol, and measure latency and throughput
    Bench(bench::Flags),
    /// Measure the round trip of one request after another, and the offset of the server's clock
    Ping(ping::Flags),
    /// Print the manual page, for man -l -
    Manual,
    /// Print the completion script of a shell
    Completions {
        /// The shell: bash, zsh or fish
        #[arg(hide_possible_values = true)]
        shell: Shell,
    },
}

/// The other commands of `day date time`.
#[derive(Debug, Args)]
struct More {
    /// More of day, date, time, now and help, answered in order
    #[arg(value_name = "COMMAND", value_parser = command)]
    more: Vec<Command>,
}

/// The argument of `sum`.
#[derive(Clone, Debug)]
enum Digits {
    Given(String),
    StandardInput,
}

impl Options {
    /// Parses the command line and the environment; exits if they are invalid.
    pub(crate) fn read() -> (Task, OutputFormat, Endpoint) {
        let mut command = hide_refused(without_empty_variables(Options::command()));
        let arguments = names::normalize(env::args_os().collect(), &command);
        let options = Options::parse_arguments(arguments, &command)
            .unwrap_or_else(|error| names::suggest(error, &command).exit());
        let (transport, task) = options
            .transport()
            .and_then(|transport| Ok((transport, options.task(transport)?)))
            .unwrap_or_else(|error| command.error(ErrorKind::ArgumentConflict, error).exit());
        let family = match (options.ipv4, options.ipv6) {
            (true, _) => Some(Family::Ipv4),
            (_, true) => Some(Family::Ipv6),
            _ => None,
        };
        let server = options.server;
        let server = server.unwrap_or_else(|| ServerAddress::loopback(family));
        let endpoint = Endpoint {
            transport,
            server: server.with_port(options.port, transport),
            family,
            timeout: options.timeout,
            is_verbose: options.verbose,
        };
        let format = match options.json {
            true => OutputFormat::Json,
            false => OutputFormat::Text,
        };
        (task, format, endpoint)
    }

    fn parse_arguments(
        arguments: Vec<OsString>,
        command: &clap::Command,
    ) -> Result<Options, clap::Error> {
        let matches = command.clone().try_get_matches_from(arguments)?;
        Options::from_arg_matches(&matches)
    }

    /// Returns the transport, or why the options contradict each other.
    fn transport(&self) -> Result<Transport, &'static str> {
        let scheme = self.server.as_ref().and_then(ServerAddress::transport);
        match (self.udp, scheme) {
            (true, Some(Transport::Tcp)) => Err(NOT_OVER_TCP),
            (true, _) => Ok(Transport::Udp),
            (false, transport) => Ok(transport.unwrap_or(Transport::Tcp)),
        }
    }

    /// Returns the task, or why the options contradict each other.
    fn task(&self, transport: Transport) -> Result<Task, &'static str> {
        let (command, more) = match &self.action {
            Some(Action::Manual | Action::Completions { .. }) if self.udp => {
                return Err(NOT_FOR_UDP);
            }
            Some(Action::Manual) => return Ok(Task::PrintManual),
            Some(Action::Completions { shell }) => return Ok(Task::PrintCompletions(*shell)),
            Some(Action::Day(More { more })) => (Command::Day, &more[..]),
            Some(Action::Date(More { more })) => (Command::Date, &more[..]),
            Some(Action::Time(More { more })) => (Command::Time, &more[..]),
            Some(Action::Now(More { more })) => (Command::SendTime, &more[..]),
            Some(Action::Bench(_) | Action::Ping(_)) if self.verbose => return Err(NO_STEPS),
            Some(Action::Bench(flags)) => {
                let plan = flags.plan(transport, self.json);
                return plan.map(Task::Bench).ok_or(NOT_FOR_UDP);
            }
            Some(Action::Ping(flags)) => return Ok(Task::Ping(flags.clone())),
            // `send time` is a request of the protocol, not the line `time`.
            Some(Action::Send { words }) if is_time(words) => (Command::SendTime, &[][..]),
            None if !self.json && is_at_terminal() => return Ok(Task::Prompt),
            _ if transport == Transport::Udp => return Err(NOT_FOR_UDP),
            Some(Action::Help) => (Command::Help, &[][..]),
            Some(Action::Sum {
                digits,
                file,
                ignore_whitespace,
            }) => return sum(digits.as_ref(), file.as_ref(), *ignore_whitespace),
            Some(Action::Send { words }) => return Ok(Task::Send(vec![words.join(" ")])),
            None => return Ok(Task::ReadRequests),
        };
        let commands = [command].into_iter().chain(more.iter().copied());
        match transport {
            Transport::Tcp => Ok(Task::Send(commands.map(|c| c.name().to_owned()).collect())),
            Transport::Udp if commands.clone().all(Command::is_time_command) => {
                Ok(Task::SendUdp(commands.collect()))
            }
            Transport::Udp => Err(NOT_FOR_UDP),
        }
    }
}

/// Whether standard input and output are both terminals.
fn is_at_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Returns the command line.
pub(crate) fn command_line() -> clap::Command {
    hide_refused(Options::command())
}

/// Hides the options that a subcommand refuses from its help.
fn hide_refused(mut command: clap::Command) -> clap::Command {
    // Adds the global options to the subcommands.
    command.build();
    let connection = [
        "udp", "server", "port", "timeout", "json", "verbose", "ipv4", "ipv6",
    ];
    for (name, refused) in [
        ("sum", &["udp"][..]),
        ("help", &["udp"]),
        ("send", &["udp"]),
        ("bench", &["verbose"]),
        ("ping", &["verbose"]),
        ("completions", &connection),
        ("manual", &connection),
    ] {
        command = command.mut_subcommand(name, |subcommand| {
            let hide = |arg: Arg| match refused.contains(&arg.get_id().as_str()) {
                true => arg.hide(true),
                false => arg,
            };
            subcommand.mut_args(hide)
        });
    }
    command
}

/// Ignores environment variables that are empty.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| match argument.get_env().map(env::var_os) {
        Some(Some(value)) if value.is_empty() => argument.env(Resettable::Reset),
        _ => argument,
    })
}

/// Returns the task of the command `sum`, or why its digits are invalid.
fn sum(
    digits: Option<&Digits>,
    file: Option<&PathBuf>,
    ignores_white_space: bool,
) -> Result<Task, &'static str> {
    let source = match (digits, file) {
        (Some(Digits::Given(text)), _) => {
            let digits: String = text.split_ascii_whitespace().collect();
            return match digits == *text || ignores_white_space {
                true => Ok(Task::Send(vec![digits])),
                false => Err(WHITE_SPACE),
            };
        }
        (None, Some(file)) if file != Path::new("-") => DigitSource::File(file.clone()),
        _ => DigitSource::StandardInput,
    };
    Ok(Task::Sum {
        source,
        ignores_white_space,
    })
}

fn is_time(words: &[String]) -> bool {
    matches!(words, [word] if word.eq_ignore_ascii_case(Command::Time.name()))
}

/// Parses the name of a command of the protocol that does not quit.
fn command(text: &str) -> Result<Command, String> {
    match Request::of_line(names::expand(text)) {
        Request::Command(command) if !Request::Command(command).is_quit() => Ok(command),
        _ => Err("expected day, date, time, now or help".to_owned()),
    }
}

fn is_digit_or_white_space(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_whitespace()
}

fn digits(text: &str) -> Result<Digits, &'static str> {
    match text {
        "-" => Ok(Digits::StandardInput),
        text if !text.trim_ascii().is_empty() && text.bytes().all(is_digit_or_white_space) => {
            Ok(Digits::Given(text.to_owned()))
        }
        _ => Err("must consist of the digits 0 to 9"),
    }
}

#[cfg(test)]
mod tests {
    use chime_protocol::{Command, Request};
    use clap::{CommandFactory, Parser};

    use super::{Options, Task};
    use crate::server_address::Transport;

    /// Returns the line that a subcommand without arguments sends.
    fn line(name: &str) -> Option<String> {
        let options = Options::try_parse_from(["chime-client", name]).ok()?;
        match options.task(Transport::Tcp) {
            Ok(Task::Send(lines)) => lines.into_iter().next(),
            _ => None,
        }
    }

    #[test]
    fn every_protocol_command_except_quit_and_exit_is_a_subcommand() {
        let options = Options::command();
        let names = options.get_subcommands().map(clap::Command::get_name);
        let lines: Vec<_> = names.filter_map(line).collect();
        for command in Command::ALL {
            assert_eq!(
                lines.iter().any(|line| line == command.name()),
                !Request::Command(command).is_quit(),
                "{command:?}"
            );
        }
    }
}
