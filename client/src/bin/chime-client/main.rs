//! The command `chime-client`: asks a chime server from the command line, a prompt or a pipe, or loads it.

mod arguments;
mod bench;
mod cli_error;
mod completions;
mod diagnostics;
mod digit_source;
mod endpoint;
#[cfg(test)]
mod manual;
mod names;
mod options;
mod output_format;
mod prompt;
mod server_address;
mod sum;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use chime_client::ask_udp;
use chime_protocol::Command;
use clap::CommandFactory;
use tokio::runtime;

use crate::cli_error::CliError;
use crate::diagnostics::eprint_line;
use crate::endpoint::Endpoint;
use crate::names::ExpandAliases;
use crate::options::{Options, Task};
use crate::output_format::OutputFormat;

fn main() -> ExitCode {
    let (task, format, endpoint) = Options::read();
    let exit_code = run(task, format, &endpoint).unwrap_or_else(|failure| {
        if !failure.is_quiet() {
            eprint_line(&failure.describe(&endpoint.server));
        }
        failure.exit_code()
    });
    ExitCode::from(exit_code)
}

/// Does the task and returns the exit code.
fn run(task: Task, format: OutputFormat, endpoint: &Endpoint) -> Result<u8, CliError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Connect)?;
    let result = match task {
        Task::SendUdp(command) => runtime.block_on(send_udp(command, format, endpoint)),
        Task::Send(line) => runtime.block_on(send(&line, format, endpoint)),
        Task::Sum(source) => runtime.block_on(sum::run(&source, format, endpoint)),
        Task::Bench(plan) => bench::run(&runtime, &plan, endpoint),
        Task::PrintCompletions(shell) => completions::print(shell, Options::command()),
        Task::ReadRequests if format == OutputFormat::Text && is_at_terminal() => {
            prompt::run(&runtime, endpoint)
        }
        Task::ReadRequests => runtime.block_on(pipe(format, endpoint)),
    };
    // The thread that reads standard input may wait for ever.
    runtime.shutdown_background();
    result
}

/// Whether a person types, and sees what is answered.
fn is_at_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Asks one command over UDP.
async fn send_udp(
    command: Command,
    format: OutputFormat,
    endpoint: &Endpoint,
) -> Result<u8, CliError> {
    let reply = endpoint
        .try_each_address(async |address| {
            let answer = ask_udp(address, command, endpoint.timeout);
            let what = format!("answered by {address}");
            let answer = endpoint.timed(&what, answer).await;
            answer.map_err(CliError::from_udp)
        })
        .await?;
    format.write(&mut io::stdout(), Some(command.name()), Some(reply))
}

/// Asks one request over TCP.
async fn send(line: &str, format: OutputFormat, endpoint: &Endpoint) -> Result<u8, CliError> {
    let mut connection = endpoint.greet().await?;
    let reply = endpoint.timed("answered", connection.ask(line)).await?;
    format.write(&mut io::stdout(), Some(line), reply)
}

/// Asks what comes through standard input, a line a request.
async fn pipe(format: OutputFormat, endpoint: &Endpoint) -> Result<u8, CliError> {
    let mut pipe = endpoint
        .greet()
        .await?
        .pipe(ExpandAliases::new(tokio::io::stdin()));
    let start = Instant::now();
    let mut output = BufWriter::new(io::stdout().lock());
    let mut exit_code = 0;
    loop {
        let next = tokio::select! {
            biased;
            next = pipe.next() => next,
            // There is a wait ahead, so what has been answered is shown first.
            () = async {} => {
                output.flush().map_err(CliError::Output)?;
                pipe.next().await
            }
        };
        match next {
            Ok(Some(reply)) => {
                // Requests overlap, so no answer has a time of its own.
                endpoint.print_step("answered, since the welcome,", start.elapsed());
                exit_code = exit_code.max(format.write(&mut output, None, Some(reply))?);
            }
            end => {
                output.flush().map_err(CliError::Output)?;
                end?;
                return Ok(exit_code);
            }
        }
    }
}
