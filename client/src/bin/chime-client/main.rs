//! The command `chime-client`: a client for the command line, the terminal and pipes, and a load generator.

mod arguments;
mod bench;
mod cli_error;
mod completions;
mod diagnostics;
mod digit_source;
mod endpoint;
mod latency;
#[cfg(test)]
mod manual;
mod names;
mod options;
mod output_format;
mod ping;
mod pipe;
mod prompt;
mod server_address;
mod sum;

use std::process::ExitCode;

use chime_protocol::Command;
use tokio::runtime;

use crate::cli_error::CliError;
use crate::diagnostics::eprint_line;
use crate::endpoint::Endpoint;
use crate::options::{Options, Task};
use crate::output_format::OutputFormat;

fn main() -> ExitCode {
    let (task, format, endpoint) = Options::read();
    let exit_code = run(task, format, &endpoint).unwrap_or_else(|error| {
        if !error.is_quiet() {
            eprint_line(&error.describe(&endpoint.server));
        }
        error.exit_code()
    });
    ExitCode::from(exit_code)
}

/// Runs the task and returns the exit code.
fn run(task: Task, format: OutputFormat, endpoint: &Endpoint) -> Result<u8, CliError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Connect)?;
    let result = match task {
        Task::SendUdp(commands) => runtime.block_on(send_udp(&commands, format, endpoint)),
        Task::Send(lines) => runtime.block_on(send(&lines, format, endpoint)),
        Task::Sum {
            source,
            ignores_white_space,
        } => runtime.block_on(sum::run(&source, ignores_white_space, format, endpoint)),
        Task::Bench(plan) => bench::run(&runtime, &plan, endpoint),
        Task::Ping(flags) => runtime.block_on(ping::run(&flags, format, endpoint)),
        Task::PrintManual => completions::print_manual(),
        Task::PrintCompletions(shell) => completions::print(shell, options::command_line()),
        Task::Prompt => prompt::run(&runtime, endpoint),
        Task::ReadRequests => runtime.block_on(pipe::run(format, endpoint)),
    };
    // A thread may still be blocked in a read of standard input.
    runtime.shutdown_background();
    result
}

/// Sends commands over UDP, one after the other, and prints the replies.
async fn send_udp(
    commands: &[Command],
    format: OutputFormat,
    endpoint: &Endpoint,
) -> Result<u8, CliError> {
    let mut exit_code = 0;
    for command in commands {
        let reply = endpoint.ask_udp(*command).await?;
        exit_code = exit_code.max(format.print(endpoint, Some(command.name()), Some(reply))?);
    }
    Ok(exit_code)
}

/// Sends requests over one TCP connection, one after the other, and prints the replies.
async fn send(lines: &[String], format: OutputFormat, endpoint: &Endpoint) -> Result<u8, CliError> {
    let mut connection = endpoint.greet().await?;
    let mut exit_code = 0;
    for line in lines {
        let reply = endpoint.timed("replied", connection.ask(line)).await?;
        exit_code = exit_code.max(format.print(endpoint, Some(line), reply)?);
    }
    Ok(exit_code)
}
