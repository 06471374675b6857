//! The control thread: signals, the admin address, and the service manager.

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
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
use nix::sys::signal::{SigSet, SigmaskHow};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin;
use crate::logs;

/// Signals within this time after the first one count as the first: `timeout`, for example, sends two.
const REPEAT_WINDOW: Duration = Duration::from_millis(200);

/// The most time that a notification waits for the service manager.
const NOTIFY_TIMEOUT: Duration = Duration::from_millis(100);

/// The caught shutdown signals, and the runtime of the control thread.
#[derive(Debug)]
pub(crate) struct Control {
    runtime: Runtime,
    signals: Vec<Signal>,
}

impl Control {
    /// Catches the shutdown signals. One received before [`Control::start`] takes effect then.
    pub(crate) fn new() -> io::Result<Control> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        if !is_hangup_ignored() {
            kinds.push(SignalKind::hangup());
        }
        // Held back meanwhile: the registration installs its handler before it can record a signal.
        let held_back = SigSet::from_iter([SIGINT, SIGTERM, SIGHUP]);
        let mask = held_back.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let signals = {
            let _context = runtime.enter();
            kinds.into_iter().map(signal).collect::<io::Result<_>>()?
        };
        mask.thread_set_mask()?;
        Ok(Control { runtime, signals })
    }

    /// Starts the control thread, which runs until the process exits. After a signal and the drain delay, it
    /// cancels `stop`.
    pub(crate) fn start(
        self,
        stop: CancellationToken,
        drain_delay: Duration,
        admin: Option<TcpListener>,
        stats: Stats,
    ) {
        let Control { runtime, signals } = self;
        let run = async move {
            // If this thread panics, no signal could stop the server any more: shut it down.
            let _stop_on_panic = stop.clone().drop_guard();
            // Cancelled at the first signal, when `/readyz` begins to fail.
            let stopping = CancellationToken::new();
            notify_manager("READY=1");
            tokio::join!(
                handle_signals(signals, stop, drain_delay, &stopping),
                serve_admin(admin, &stats, &stopping),
                feed_watchdog(&stats),
            );
        };
        thread::spawn(move || runtime.block_on(run));
    }
}

/// Returns whether SIGHUP is ignored, as set by nohup(1): bit 0 of the mask.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

async fn next_signal(signals: &mut [Signal]) {
    poll_fn(|cx| {
        let mut received = signals.iter_mut().map(|signal| signal.poll_recv(cx));
        received.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await;
}

/// Waits for a second signal, outside the repeat window of the first one.
async fn second_signal(first: Instant, signals: &mut [Signal]) {
    next_signal(signals).await;
    while first.elapsed() < REPEAT_WINDOW {
        next_signal(signals).await;
    }
}

/// Starts the graceful shutdown at the first signal. Exits at once at the second one.
async fn handle_signals(
    mut signals: Vec<Signal>,
    stop: CancellationToken,
    drain_delay: Duration,
    stopping: &CancellationToken,
) {
    next_signal(&mut signals).await;
    let first = Instant::now();
    stopping.cancel();
    notify_manager("STOPPING=1");
    if !drain_delay.is_zero() {
        let delay = humantime::format_duration(drain_delay);
        info!("stopping in {delay}: new connections are still served");
    }
    let second = second_signal(first, &mut signals);
    if timeout(drain_delay, second).await.is_err() {
        info!("stopping: no new connections, draining open connections");
        stop.cancel();
        second_signal(first, &mut signals).await;
    }
    warn!("exiting at the second signal, without draining");
    logs::flush();
    process::exit(1);
}

async fn serve_admin(admin: Option<TcpListener>, stats: &Stats, stopping: &CancellationToken) {
    let Some(admin) = admin else { return };
    let Err(error) = admin::serve(admin, stats.clone(), stopping.clone()).await;
    warn!("cannot serve the admin address: {error}");
}

/// Sends watchdog keep-alives to the service manager while all workers respond.
async fn feed_watchdog(stats: &Stats) {
    let Some(watchdog_timeout) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut keep_alive = interval(keep_alive_interval(watchdog_timeout));
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        keep_alive.tick().await;
        if stats.is_responding() {
            notify_manager("WATCHDOG=1");
        } else {
            warn!("a worker is stuck: no keep-alive sent to the service manager");
        }
    }
}

/// Returns half the timeout, as sd_watchdog_enabled(3) recommends. An interval of zero would panic.
fn keep_alive_interval(watchdog_timeout: Duration) -> Duration {
    (watchdog_timeout / 2).max(Duration::from_millis(1))
}

/// Notifies the service manager, if there is one.
fn notify_manager(state: &str) {
    let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
    if let Some(Err(error)) = name.map(|name| notify(&name, state)) {
        warn!("cannot send {state} to the service manager: {error}");
    }
}

fn notify(name: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not delay the handling of signals.
    socket.set_write_timeout(Some(NOTIFY_TIMEOUT))?;
    let message = format!("{state}\n");
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_bytes().strip_prefix(b"@") {
        let address = SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(message.as_bytes(), &address).map(drop);
    }
    socket.send_to(message.as_bytes(), name).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::keep_alive_interval;

    #[test]
    fn keep_alives_come_twice_in_the_watchdog_timeout() {
        let interval = |us| keep_alive_interval(Duration::from_micros(us)).as_micros();
        assert_eq!(interval(30_000_000), 15_000_000);
        assert_eq!(interval(1), 1_000);
    }
}
