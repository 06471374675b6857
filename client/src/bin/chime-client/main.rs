//! The command `chime-client`: asks a chime server from the command line, a prompt or a pipe, or loads it.

mod bench;
mod failure;
mod network;
mod options;
mod prompt;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use chime_client::{Connection, ask_datagram};
use chime_protocol::{Command, Reply};
use tokio::net::TcpStream;
use tokio::runtime;

use crate::failure::Failure;
use crate::network::Network;
use crate::options::{Options, Task};

/// The exit code when the server answered with an error.
const ERROR_REPLY: u8 = 1;

fn main() -> ExitCode {
    let (task, network) = Options::read();
    let exit_code = run(task, &network).unwrap_or_else(|failure| {
        if !failure.is_quiet() {
            // When nobody can be told, the exit code still tells.
            let line = failure.describe(&network.server);
            let _ = writeln!(io::stderr(), "chime-client: {line}");
        }
        failure.exit_code()
    });
    ExitCode::from(exit_code)
}

/// Does the task and returns the exit code.
fn run(task: Task, network: &Network) -> Result<u8, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Connect)?;
    let result = match task {
        Task::AskDatagram(command) => runtime.block_on(ask_by_datagram(command, network)),
        Task::Ask(line) => runtime.block_on(ask(&line, network)),
        Task::Bench(plan) => bench::run(&runtime, &plan, network),
        Task::Converse if io::stdin().is_terminal() => prompt::run(&runtime, network),
        Task::Converse => runtime.block_on(pipe(network)),
    };
    // The thread that reads standard input may wait for ever.
    runtime.shutdown_background();
    result
}

/// Asks one command over UDP.
async fn ask_by_datagram(command: Command, network: &Network) -> Result<u8, Failure> {
    let reply = network
        .first(async |address| {
            let socket = network::udp_socket(address).await;
            let socket = socket.map_err(Failure::Connect)?;
            let answer = ask_datagram(&socket, command, network.timeout).await;
            answer.map_err(Failure::of_datagram)
        })
        .await?;
    print(reply)
}

/// Asks one request over TCP.
async fn ask(line: &str, network: &Network) -> Result<u8, Failure> {
    match greet(network).await?.ask(line).await? {
        Some(reply) => print(reply),
        None => Ok(0),
    }
}

/// Asks what comes through standard input, a line a request.
async fn pipe(network: &Network) -> Result<u8, Failure> {
    let mut pipe = greet(network).await?.pipe(tokio::io::stdin());
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
                writeln!(output, "{reply}").map_err(Failure::Output)?;
                exit_code = exit_code.max(exit_code_of(reply));
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
    Ok(Connection::greet(stream, network.timeout).await?)
}

fn print(reply: Reply) -> Result<u8, Failure> {
    writeln!(io::stdout(), "{reply}").map_err(Failure::Output)?;
    Ok(exit_code_of(reply))
}

fn exit_code_of(reply: Reply) -> u8 {
    match reply {
        Reply::CommandError | Reply::DigitError => ERROR_REPLY,
        _ => 0,
    }
}
