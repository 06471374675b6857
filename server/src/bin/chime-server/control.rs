//! The thread beside the workers: signals, the pages for operators, and the service manager.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
#[cfg(target_os = "linux")]
use std::os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt, unix::net::SocketAddr};
use std::process;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use chime_server::Stats;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin;
use crate::logs;

/// Signals this soon after the first one are the same order: `timeout` sends two, for one.
const REPEAT_WINDOW: Duration = Duration::from_millis(200);

/// How long a notice may wait for the service manager.
const NOTIFY_TIMEOUT: Duration = Duration::from_millis(100);

/// The signals to stop, caught.
#[derive(Debug)]
pub(crate) struct Control {
    runtime: Runtime,
    signals: Vec<Signal>,
}

impl Control {
    /// Catches the signals. One that comes before [`Control::start`] is acted on then.
    pub(crate) fn new() -> io::Result<Control> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !is_hangup_ignored() {
            kinds.push(SignalKind::hangup());
        }
        let signals = {
            let _context = runtime.enter();
            kinds.into_iter().map(signal).collect::<io::Result<_>>()?
        };
        Ok(Control { runtime, signals })
    }

    /// Starts the thread, which lives as long as the process, and cancels `stop` after the drain delay.
    pub(crate) fn start(
        self,
        stop: CancellationToken,
        drain_delay: Duration,
        admin: Option<TcpListener>,
        stats: Stats,
    ) {
        let Control { runtime, signals } = self;
        let run = async move {
            // A server that no signal could stop any more is not left behind.
            let _stop_on_panic = stop.clone().drop_guard();
            // Cancelled with the first signal: new clients should go elsewhere.
            let stopping = CancellationToken::new();
            notify_manager("READY=1");
            tokio::join!(
                stop_in_order(signals, stop, drain_delay, &stopping),
                serve_pages(admin, &stats, &stopping),
                feed_watchdog(&stats),
            );
        };
        thread::spawn(move || runtime.block_on(run));
    }
}

/// Whether SIGHUP was ignored from the start on, as nohup(1) has it. It is the first bit of the mask.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

async fn next(signals: &mut [Signal]) {
    poll_fn(|cx| {
        let mut received = signals.iter_mut().map(|signal| signal.poll_recv(cx));
        received.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await;
}

/// Waits for a signal that is not the first one once more.
async fn next_after(first: Instant, signals: &mut [Signal]) {
    next(signals).await;
    while first.elapsed() < REPEAT_WINDOW {
        next(signals).await;
    }
}

/// The first signal starts the drain. A second one ends the process at once.
async fn stop_in_order(
    mut signals: Vec<Signal>,
    stop: CancellationToken,
    drain_delay: Duration,
    stopping: &CancellationToken,
) {
    next(&mut signals).await;
    let first = Instant::now();
    stopping.cancel();
    notify_manager("STOPPING=1");
    if !drain_delay.is_zero() {
        let delay = humantime::format_duration(drain_delay);
        info!("stopping in {delay}: new connections are still served");
    }
    let second = next_after(first, &mut signals);
    if timeout(drain_delay, second).await.is_err() {
        info!("stopping: no new connections, waiting for answers to be taken");
        stop.cancel();
        next_after(first, &mut signals).await;
    }
    warn!("stopping at once");
    logs::flush();
    process::exit(1);
}

async fn serve_pages(admin: Option<TcpListener>, stats: &Stats, stopping: &CancellationToken) {
    let Some(admin) = admin else { return };
    let Err(error) = admin::serve(admin, stats.clone(), stopping.clone()).await;
    warn!("cannot serve the admin address: {error}");
}

/// Tells the service manager that the workers are alive, as often as it wants, as long as they are.
async fn feed_watchdog(stats: &Stats) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Half the time, as sd_watchdog_enabled(3) recommends. Zero would be no interval.
    let mut pulse = interval((patience / 2).max(Duration::from_millis(1)));
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse.tick().await;
        if stats.is_responding() {
            notify_manager("WATCHDOG=1");
        } else {
            warn!("a worker is stuck: the service manager is not told that all is well");
        }
    }
}

/// Notifies the service manager, if there is one.
fn notify_manager(state: &str) {
    let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
    if let Some(Err(error)) = name.map(|name| notify(&name, state)) {
        warn!("cannot tell the service manager {state}: {error}");
    }
}

fn notify(name: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // Signals are not kept waiting by a service manager that reads nothing.
    socket.set_write_timeout(Some(NOTIFY_TIMEOUT))?;
    let message = format!("{state}\n");
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_bytes().strip_prefix(b"@") {
        let address = SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(message.as_bytes(), &address).map(drop);
    }
    socket.send_to(message.as_bytes(), name).map(drop)
}
