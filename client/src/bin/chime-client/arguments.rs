//! Value parsers shared by the options of the program and of `bench`.

use std::time::Duration;

/// 100 years of 365.25 days, as humantime counts them. Such a duration can be added to any `Instant`.
const DURATION_MAX: Duration = Duration::from_secs(100 * 31_557_600);

/// Parses a duration longer than zero.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        timeout => Ok(timeout),
    }
}

/// Parses a duration of at most 100 years.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > DURATION_MAX => Err("must be at most 100 years".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Parses the port of a server.
pub(crate) fn port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("the port must be from 1 to 65535"),
    }
}

/// Parses a line to send, without its newline.
pub(crate) fn line(text: &str) -> Result<String, &'static str> {
    match text.contains('\n') {
        true => Err("must not contain a newline; send several lines through standard input"),
        false => Ok(text.to_owned()),
    }
}
