//! The log, on standard error.

use std::error::Error;
use std::io::{self, IsTerminal};

use tracing::error;
use tracing::level_filters::LevelFilter;

use crate::flags::LogFormat;

/// Logs from here on what is at least this severe.
pub(crate) fn start(level: LevelFilter, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_target(false)
        .with_max_level(level);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Tells why the server ends, in the log if that is for machines.
pub(crate) fn tell_failure(failure: &dyn Error, format: LogFormat) {
    let is_logged = LevelFilter::current() >= LevelFilter::ERROR;
    match format {
        LogFormat::Json if is_logged => error!("{failure}"),
        _ => eprintln!("chime-server: {failure}"),
    }
}
