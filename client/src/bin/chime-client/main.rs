//! The command `chime-client`: asks a chime server from the command line, a prompt or a pipe, or loads it.

mod bench;
mod failure;
mod form;
#[cfg(test)]
mod generated;
mod names;
mod network;
mod options;
mod prompt;
mod sum;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use chime_client::{Connection, ask_udp};
use chime_protocol::{Command, Reply};
use tokio::net::TcpStream;
use tokio::runtime;

use crate::failure::Failure;
use crate::form::Form;
use crate::names::ExpandAliases;
use crate::network::Network;
use crate::options::{Options, Task};

fn main() -> ExitCode {
    let (task, form, network) = Options::read();
    let exit_code = run(task, form, &network).unwrap_or_else(|failure| {
        if !failure.is_quiet() {
            say(&failure.describe(&network.server));
        }
        failure.exit_code()
    });
    ExitCode::from(exit_code)
}

/// Says what happens, in one line on standard error. When nobody can be told, the exit code still tells.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "chime-client: {line}");
}

/// Does the task and returns the exit code.
fn run(task: Task, form: Form, network: &Network) -> Result<u8, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Connect)?;
    let result = match task {
        Task::AskDatagram(command) => runtime.block_on(ask_by_datagram(command, form, network)),
        Task::Ask(line) => runtime.block_on(ask(&line, form, network)),
        Task::Sum(source) => runtime.block_on(sum::run(&source, form, network)),
        Task::Bench(plan) => bench::run(&runtime, &plan, network),
        Task::Converse if form == Form::Text && is_at_terminal() => prompt::run(&runtime, network),
        Task::Converse => runtime.block_on(pipe(form, network)),
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
async fn ask_by_datagram(command: Command, form: Form, network: &Network) -> Result<u8, Failure> {
    let reply = network
        .first(async |address| {
            let answer = ask_udp(address, command, network.timeout);
            let what = format!("answered by {address}");
            let answer = network.timed(&what, answer).await;
            answer.map_err(Failure::of_datagram)
        })
        .await?;
    form.write(&mut io::stdout(), Some(command.name()), Some(reply))
}

/// Asks one request over TCP.
async fn ask(line: &str, form: Form, network: &Network) -> Result<u8, Failure> {
    let mut connection = greet(network).await?;
    let reply = network.timed("answered", connection.ask(line)).await?;
    form.write(&mut io::stdout(), Some(line), reply)
}

/// Asks what comes through standard input, a line a request.
async fn pipe(form: Form, network: &Network) -> Result<u8, Failure> {
    let mut pipe = greet(network)
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
                output.flush().map_err(Failure::Output)?;
                pipe.next().await
            }
        };
        match next {
            Ok(Some(reply)) => {
                // Requests overlap, so no answer has a time of its own.
                network.tell("answered, since the welcome,", start.elapsed());
                exit_code = exit_code.max(form.write(&mut output, None, Some(reply))?);
            }
            end => {
                output.flush().map_err(Failure::Output)?;
                end?;
                return Ok(exit_code);
            }
        }
    }
}

/// Connects and waits for the welcome.
async fn greet(network: &Network) -> Result<Connection<TcpStream>, Failure> {
    let stream = network.connect().await?;
    let what = format!("welcomed with '{}'", Reply::Welcome);
    let greeted = Connection::greet(stream, network.timeout);
    Ok(network.timed(&what, greeted).await?)
}
