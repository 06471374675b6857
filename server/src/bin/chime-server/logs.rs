//! The log, on standard error. It is best effort: it never blocks or ends the server.
//!
//! A thread writes the lines of a bounded queue. A line is dropped and counted if the queue is full or the
//! write fails. `tracing_appender::non_blocking` is not used: when the queue stays full, its guard prints to
//! standard output, which blocks or panics if nobody reads that either.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use chime_server::ACCESS;
use tracing::level_filters::LevelFilter;
use tracing::{Level, enabled, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::flags::LogFormat;

/// The most lines in the queue.
const QUEUE_MAX: usize = 4096;

/// The most time that [`flush`] waits.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

static LINES: OnceLock<SyncSender<Vec<u8>>> = OnceLock::new();
static PENDING: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Starts logging at this level, panics included.
pub(crate) fn start(level: LevelFilter, format: LogFormat) {
    let (sender, lines) = sync_channel::<Vec<u8>>(QUEUE_MAX);
    LINES.get_or_init(|| sender);
    let write = move || {
        for line in lines {
            if io::stderr().write_all(&line).is_err() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            PENDING.fetch_sub(1, Ordering::Release);
        }
    };
    // Without the thread, all lines are dropped.
    let _ = thread::Builder::new().name("log".into()).spawn(write);
    let log = tracing_subscriber::fmt()
        .with_writer(|| Queue)
        .log_internal_errors(false)
        .with_target(false)
        .with_max_level(LevelFilter::TRACE);
    let events = Targets::new().with_default(level);
    match format {
        LogFormat::Text => {
            let log = log.with_ansi(io::stderr().is_terminal());
            log.finish().with(events).init();
        }
        LogFormat::Json => log.json().flatten_event(true).finish().with(events).init(),
        LogFormat::Access => {
            let events = events.with_target(ACCESS, LevelFilter::DEBUG);
            log.json().flatten_event(true).finish().with(events).init();
        }
    }
    panic::set_hook(Box::new(|panic| {
        error!("{}", panic.to_string().replace('\n', " "))
    }));
}

/// Reports the error that ends the server: as a log record in the formats of JSON, otherwise as a plain line.
pub(crate) fn report(failure: &dyn Error, format: LogFormat) {
    match format {
        LogFormat::Json | LogFormat::Access if enabled!(Level::ERROR) => error!("{failure}"),
        _ => queue(format!("chime-server: {failure}\n").into_bytes()),
    }
}

/// Returns the number of dropped lines.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits until the queue is written, at most for [`FLUSH_TIMEOUT`].
pub(crate) fn flush() {
    let start = Instant::now();
    while PENDING.load(Ordering::Acquire) > 0 && start.elapsed() < FLUSH_TIMEOUT {
        thread::sleep(Duration::from_millis(1));
    }
}

fn queue(line: Vec<u8>) {
    PENDING.fetch_add(1, Ordering::Relaxed);
    let is_queued = LINES
        .get()
        .is_some_and(|lines| lines.try_send(line).is_ok());
    if !is_queued {
        PENDING.fetch_sub(1, Ordering::Relaxed);
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The writer for tracing. Each write is one line.
struct Queue;

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        queue(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
