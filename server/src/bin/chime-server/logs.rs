//! The log, on standard error: best effort, so it delays nothing and ends nothing.
//!
//! A thread writes the lines of a bounded queue. A line that finds the queue full, or that cannot be
//! written, is dropped and counted. `tracing_appender::non_blocking` is not used because its guard prints
//! to standard output when the queue stays full, which blocks or panics where nobody reads that either.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::error;
use tracing::level_filters::LevelFilter;

use crate::flags::LogFormat;

/// Lines that wait to be written.
const QUEUE_MAX: usize = 4096;

/// How long the process waits at its end for them.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

static LINES: OnceLock<SyncSender<Vec<u8>>> = OnceLock::new();
static PENDING: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Logs from here on what is at least this severe, panics too.
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
    // Without the thread all lines are dropped.
    let _ = thread::Builder::new().name("log".into()).spawn(write);
    let log = tracing_subscriber::fmt()
        .with_writer(|| Queue)
        .log_internal_errors(false)
        .with_target(false)
        .with_max_level(level);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    panic::set_hook(Box::new(|panic| {
        error!("{}", panic.to_string().replace('\n', " "))
    }));
}

/// Reports why the server ends, in the log if that is for machines.
pub(crate) fn report(failure: &dyn Error, format: LogFormat) {
    let is_logged = LevelFilter::current() >= LevelFilter::ERROR;
    match format {
        LogFormat::Json if is_logged => error!("{failure}"),
        _ => queue(format!("chime-server: {failure}\n").into_bytes()),
    }
}

/// Returns how many lines could not be written.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits until the lines are written, for a bounded time.
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

/// The writer of the log: each write is a line.
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
