//! The command `chime-client bench`: a load generator for any request-reply protocol of lines.
//!
//! One thread drives all connections. To not be the bottleneck, it parses nothing but newlines, and a
//! wake-up of a connection usually costs one read, one write and one clock read, whatever the number of replies.

mod fairness;
mod flags;
mod generator;
mod link;
mod pace;
mod progress;
mod report;
#[cfg(target_os = "linux")]
mod timer;
mod totals;

use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Instant;

use tokio::runtime::{self, Runtime};
use tokio::signal;

use crate::cli_error::CliError;
use crate::endpoint::Endpoint;
use crate::server_address::Transport;

pub(crate) use flags::{Flags, Plan};

use flags::Extent;
use generator::Generator;
use link::{Link, Target, TcpLink, UdpLink};
use pace::{Limit, Pace};
use progress::Progress;
use report::{Heading, Report};
use totals::Totals;

/// The exit code after a second Ctrl-C: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

/// Runs the load, prints the report and returns the exit code. Ctrl-C ends the load early.
pub(crate) fn run(runtime: &Runtime, plan: &Plan, endpoint: &Endpoint) -> Result<u8, CliError> {
    let totals = match endpoint.transport {
        Transport::Tcp => load::<TcpLink>(runtime, plan, endpoint),
        Transport::Udp => load::<UdpLink>(runtime, plan, endpoint),
    }?;
    let report = Report {
        plan,
        endpoint,
        totals: &totals,
    };
    let mut output = io::stdout().lock();
    match plan.json {
        true => writeln!(output, "{}", report.json()),
        false => write!(output, "{report}"),
    }
    .map_err(CliError::Output)?;
    match totals.first_error(endpoint.reply_timeout()) {
        Some(error) => Err(error),
        None => Ok(0),
    }
}

fn load<L: Link>(runtime: &Runtime, plan: &Plan, endpoint: &Endpoint) -> Result<Totals, CliError> {
    let open = endpoint.try_each_address(async |address| open::<L>(address, plan, endpoint));
    let mut generator = runtime.block_on(open)?;
    if !plan.json {
        writeln!(io::stdout(), "{}", Heading { plan, endpoint }).map_err(CliError::Output)?;
    }
    // Without a handler, Ctrl-C ends the program.
    let interrupted = watch_for_interrupt().unwrap_or_default();
    let is_interrupted = || interrupted.load(Ordering::Relaxed);
    let mut run = |name, limit| {
        let progress = Progress::new(name, limit);
        let pace = Pace::new(limit, plan.rate, endpoint.reply_timeout(), Instant::now());
        let totals = generator.run(pace, |requests| {
            if is_interrupted() {
                progress.keep();
                return ControlFlow::Break(());
            }
            progress.set(requests);
            ControlFlow::Continue(())
        });
        totals.map_err(CliError::Connect)
    };
    let limit = match plan.extent {
        Extent::Requests(requests) => Limit::Requests(requests),
        Extent::Time { warm_up, measured } => {
            if !warm_up.is_zero() {
                let totals = run("warm-up", Limit::Duration(warm_up))?;
                if totals.errors.count() > 0 || is_interrupted() {
                    return Ok(totals);
                }
            }
            Limit::Duration(measured)
        }
    };
    run("measuring", limit)
}

/// Returns a flag that the first Ctrl-C sets. The second one ends the program.
fn watch_for_interrupt() -> io::Result<Arc<AtomicBool>> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let mut first = Box::pin(signal::ctrl_c());
    // The first poll installs the handler.
    runtime.block_on(poll_fn(|cx| {
        Poll::Ready(first.as_mut().poll(cx).is_ready())
    }));
    let flag = Arc::new(AtomicBool::new(false));
    let is_interrupted = Arc::clone(&flag);
    thread::spawn(move || {
        runtime.block_on(async {
            if first.await.is_ok() {
                is_interrupted.store(true, Ordering::Relaxed);
            }
            if signal::ctrl_c().await.is_ok() {
                process::exit(INTERRUPTED);
            }
        });
    });
    Ok(flag)
}

/// Opens the connections to one address of the server.
fn open<L: Link>(
    address: SocketAddr,
    plan: &Plan,
    endpoint: &Endpoint,
) -> Result<Generator<L>, CliError> {
    let timeout = endpoint.reply_timeout();
    if plan.churn {
        // A probe: a connection without a request shows whether the address accepts connections.
        TcpStream::connect_timeout(&address, timeout).map_err(CliError::Connect)?;
    }
    let target = Target::new(address, endpoint.transport, plan);
    match Generator::open(target, plan, timeout) {
        Ok(Some(generator)) => Ok(generator),
        Ok(None) => Err(CliError::NoGreeting(timeout)),
        Err(error) => Err(error.into_cli_error(timeout)),
    }
}
