//! The thread beside the workers: signals, the pages for operators, and the service manager.

use std::io;
use std::net::TcpListener;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chime_server::Monitor;
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin;

/// The signals to stop, caught.
#[derive(Debug)]
pub(crate) struct Control {
    runtime: Runtime,
    signals: Signals,
}

/// What the thread acts on.
#[derive(Debug)]
pub(crate) struct Duties {
    /// Cancelled once the server has to stop.
    pub(crate) stop: CancellationToken,
    /// How long the server goes on accepting after it was told to stop.
    pub(crate) drain_delay: Duration,
    /// Where to serve the pages.
    pub(crate) admin: Option<TcpListener>,
    /// What shows how the workers are.
    pub(crate) monitor: Monitor,
}

impl Control {
    /// Catches the signals. One that comes before [`Control::start`] is acted on then.
    pub(crate) fn new() -> io::Result<Control> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _context = runtime.enter();
            Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            }
        };
        Ok(Control { runtime, signals })
    }

    /// Starts the thread. It lives as long as the process.
    pub(crate) fn start(self, duties: Duties) {
        thread::spawn(move || {
            // A server that no signal could stop any more is not left behind.
            let _stop_on_panic = duties.stop.clone().drop_guard();
            self.runtime.block_on(fulfil(duties, self.signals));
        });
    }
}

/// Whether new clients should come here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    is_stopping: Arc<AtomicBool>,
}

impl Readiness {
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_stopping.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn fulfil(duties: Duties, signals: Signals) {
    let Duties {
        stop,
        drain_delay,
        admin,
        monitor,
    } = duties;
    let readiness = Readiness::default();
    tell_manager(&NotifyState::Ready);
    tokio::join!(
        stop_in_order(signals, stop, drain_delay, &readiness),
        serve_pages(admin, &monitor, &readiness),
        feed_watchdog(&monitor),
    );
}

/// On the first signal the server gets ready to stop, and stops; on the second it ends at once.
async fn stop_in_order(
    mut signals: Signals,
    stop: CancellationToken,
    drain_delay: Duration,
    readiness: &Readiness,
) {
    signals.next().await;
    readiness.end();
    tell_manager(&NotifyState::Stopping);
    if !drain_delay.is_zero() {
        let delay = humantime::format_duration(drain_delay);
        info!("stopping in {delay}: new connections are still served");
    }
    if timeout(drain_delay, signals.next()).await.is_err() {
        info!("stopping: no new connections, waiting for answers to be taken");
        stop.cancel();
        signals.next().await;
    }
    warn!("stopping at once");
    process::exit(1);
}

async fn serve_pages(admin: Option<TcpListener>, monitor: &Monitor, readiness: &Readiness) {
    let Some(listener) = admin else { return };
    let Err(error) = admin::serve(listener, monitor.clone(), readiness.clone()).await;
    warn!("cannot serve the admin address: {error}");
}

/// Tells the service manager that the workers are alive, as often as it wants, as long as they are.
async fn feed_watchdog(monitor: &Monitor) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Half the time, as sd_watchdog_enabled(3) recommends. Zero would be no interval.
    let mut pulse = interval((patience / 2).max(Duration::from_millis(1)));
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse.tick().await;
        if monitor.is_responding() {
            tell_manager(&NotifyState::Watchdog);
        } else {
            warn!("a worker is stuck: the service manager is not told that all is well");
        }
    }
}

/// Tells the service manager, if there is one.
fn tell_manager(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        warn!("cannot tell the service manager {state}: {error}");
    }
}
