//! The command line and the environment.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use chime_client::addresses::Family;
use chime_protocol::Command;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::arguments;
use crate::bench;
use crate::completions::Shell;
use crate::digit_source::DigitSource;
use crate::endpoint::Endpoint;
use crate::names;
use crate::output_format::OutputFormat;
use crate::server_address::{ServerAddress, Transport};

const TCP_PORT: u16 = 9990;
const UDP_PORT: u16 = 8089;

const AFTER_HELP: &str = "\
Without a command, each line of standard input is a request: at a prompt if standard input and output \
are terminals, else pipelined. Replies are printed in order.

Command names are case-insensitive. now is an alias of the request send time, also at the prompt and in \
a pipe.

At the prompt, Tab completes, Ctrl-C clears the line, and Ctrl-D exits. The prompt reconnects after the \
server restarts, and keeps its history in chime/history under $XDG_STATE_HOME, or under ~/.local/state. \
Colours are used on terminals only, and never if NO_COLOR is set.

With --json, each reply is an object on a line of standard output. A failure prints no object, only a \
message on standard error. The members of the object:
  request   the request; null if it comes from a file or standard input
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
  chime-client --server '[::1]:9990' sum 12345
  chime-client sum --file digits.txt
  chime-client now --udp --timeout 2s
  chime-client now --json
  chime-client bench --connections 50 --in-flight 100 --duration 10s
  printf 'date\\ntime\\n' | chime-client
  head -c 1000000 /dev/urandom | od -An -v -tu1 | tr -dc 0-9 | chime-client sum -
  chime-client completions bash >~/.local/share/bash-completion/completions/chime-client";

const NOT_FOR_UDP: &str =
    "UDP supports only the commands day, date, time and now, and bench without --churn";
const NOT_OVER_TCP: &str = "--udp contradicts the scheme tcp:// of the server";
const NOT_FOR_BENCH: &str = "--verbose cannot be used with bench";

/// What the program does.
#[derive(Debug)]
pub(crate) enum Task {
    /// Send one command over UDP.
    SendUdp(Command),
    /// Send one request over TCP.
    Send(String),
    /// Sum the digits of a file or of standard input.
    Sum(DigitSource),
    /// Send the lines of standard input as requests.
    ReadRequests,
    /// Load the server.
    Bench(bench::Plan),
    /// Print the completion script of a shell.
    PrintCompletions(Shell),
}

/// A client for chime servers: prints the day, the date, the time, or the sum of digits.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,

    /// Use UDP: for day, date, time and now, with up to three attempts, and for bench
    #[arg(long, global = true)]
    udp: bool,

    /// The server; the default port is 9990, or 8089 with --udp; udp://HOST implies --udp
    #[arg(
        long,
        global = true,
        env = "CHIME_SERVER",
        value_name = "HOST[:PORT]",
        default_value = "127.0.0.1"
    )]
    server: ServerAddress,

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

    /// Print replies, or the report of bench, as JSON: one object a line
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
    Day,
    /// Print the date, as 26-11-21
    Date,
    /// Print the time of day, as 06:32:06
    Time,
    /// Print the date and the time of day, with microseconds
    Now,
    /// Print the sum of the digits
    Sum {
        /// A string of digits, or - to read any number of digits from standard input
        #[arg(value_parser = digits, required_unless_present = "file")]
        digits: Option<Digits>,

        /// Read the digits from a file of any size; white space at its end is ignored
        #[arg(long, value_name = "FILE", conflicts_with = "digits")]
        file: Option<PathBuf>,
    },
    /// Print the commands of the protocol, as listed by the server
    Help,
    /// Send one line unchanged and print the reply; send time is the same as now
    Send {
        /// The line, without its newline; words are joined by a space
        #[arg(value_name = "TEXT", required = true, value_parser = arguments::line)]
        words: Vec<String>,
    },
    /// Generate load for a server of any line protocol, and measure latency and throughput
    Bench(bench::Flags),
    /// Print the completion script of a shell
    Completions {
        /// The shell: bash, zsh or fish
        #[arg(hide_possible_values = true)]
        shell: Shell,
    },
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
        let mut command = without_empty_variables(Options::command());
        let arguments = names::fold_case(env::args_os().collect(), &command);
        let options = Options::parse_arguments(arguments, &command)
            .unwrap_or_else(|error| names::suggest(error, &command).exit());
        let task = options
            .task()
            .unwrap_or_else(|error| command.error(ErrorKind::ArgumentConflict, error).exit());
        let endpoint = Endpoint {
            server: options.server.or_port(match task {
                Task::SendUdp(_) => UDP_PORT,
                Task::Bench(bench::Plan { is_udp: true, .. }) => UDP_PORT,
                _ => TCP_PORT,
            }),
            family: match (options.ipv4, options.ipv6) {
                (true, _) => Some(Family::Ipv4),
                (_, true) => Some(Family::Ipv6),
                _ => None,
            },
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

    /// Returns the task, or why the options contradict each other.
    fn task(&self) -> Result<Task, &'static str> {
        let is_udp = match (self.udp, self.server.transport()) {
            (true, Some(Transport::Tcp)) => return Err(NOT_OVER_TCP),
            (is_udp, transport) => is_udp || transport == Some(Transport::Udp),
        };
        let command = match &self.action {
            Some(Action::Day) => Command::Day,
            Some(Action::Date) => Command::Date,
            Some(Action::Time) => Command::Time,
            Some(Action::Now) => Command::SendTime,
            Some(Action::Bench(_)) if self.verbose => return Err(NOT_FOR_BENCH),
            Some(Action::Bench(flags)) => {
                let plan = flags.plan(is_udp, self.json);
                return plan.map(Task::Bench).ok_or(NOT_FOR_UDP);
            }
            // `send time` is a request of the protocol, not the line `time`.
            Some(Action::Send { words }) if is_time(words) => Command::SendTime,
            _ if is_udp => return Err(NOT_FOR_UDP),
            Some(Action::Help) => Command::Help,
            Some(Action::Sum { digits, file }) => return Ok(sum(digits.as_ref(), file.as_ref())),
            Some(Action::Send { words }) => return Ok(Task::Send(words.join(" "))),
            Some(Action::Completions { shell }) => return Ok(Task::PrintCompletions(*shell)),
            None => return Ok(Task::ReadRequests),
        };
        Ok(match is_udp {
            true => Task::SendUdp(command),
            false => Task::Send(command.name().to_owned()),
        })
    }
}

/// Ignores environment variables that are empty.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| match argument.get_env().map(env::var_os) {
        Some(Some(value)) if value.is_empty() => argument.env(Resettable::Reset),
        _ => argument,
    })
}

/// Returns the task of the command `sum`.
fn sum(digits: Option<&Digits>, file: Option<&PathBuf>) -> Task {
    match (digits, file) {
        (Some(Digits::Given(digits)), _) => Task::Send(digits.clone()),
        (None, Some(file)) => Task::Sum(DigitSource::File(file.clone())),
        (Some(Digits::StandardInput) | None, _) => Task::Sum(DigitSource::StandardInput),
    }
}

fn is_time(words: &[String]) -> bool {
    matches!(words, [word] if word.eq_ignore_ascii_case(Command::Time.name()))
}

fn digits(text: &str) -> Result<Digits, &'static str> {
    match text {
        "-" => Ok(Digits::StandardInput),
        text if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
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

    /// Returns the line that a subcommand without arguments sends.
    fn line(name: &str) -> Option<String> {
        let options = Options::try_parse_from(["chime-client", name]).ok()?;
        match options.task() {
            Ok(Task::Send(line)) => Some(line),
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
