//! The clock of the replies. It supports any system time.

use std::env;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local, NaiveDateTime, Utc};
use tracing::warn;

/// Seconds before and after 1970 for which chrono supports local time in every zone: 260,000 years.
const SECONDS_MAX: i64 = 8_200_000_000_000;

/// Returns the current time in UTC.
pub(crate) fn utc() -> NaiveDateTime {
    utc_at(SystemTime::now()).naive_utc()
}

/// Returns the current local time.
pub(crate) fn local() -> NaiveDateTime {
    let now = utc_at(SystemTime::now());
    now.with_timezone(&Local).naive_local()
}

/// Converts a system time, clamped to [`SECONDS_MAX`]. `Utc::now` and `Local::now` panic before 1970.
fn utc_at(time: SystemTime) -> DateTime<Utc> {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let (seconds, nanoseconds) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (seconds(after), after.subsec_nanos()),
        Err(before) => match before.duration().subsec_nanos() {
            0 => (-seconds(before.duration()), 0),
            part => (-1 - seconds(before.duration()), 1_000_000_000 - part),
        },
    };
    let seconds = seconds.clamp(-SECONDS_MAX, SECONDS_MAX);
    DateTime::from_timestamp(seconds, nanoseconds).expect("chrono supports the clamped range")
}

/// Warns if `TZ` is invalid: chrono silently falls back to another time zone.
pub(crate) fn warn_of_unknown_time_zone() {
    let zone = env::var_os("TZ").unwrap_or_default();
    if !is_time_zone(zone.to_str()) {
        let now = utc_at(SystemTime::now()).with_timezone(&Local);
        let offset = now.offset();
        warn!("unknown time zone TZ={zone:?}: local time is UTC{offset} (is tzdata installed?)");
    }
}

/// Returns whether chrono accepts this value of `TZ`: tz-rs accepts the same values.
fn is_time_zone(zone: Option<&str>) -> bool {
    // The empty string means UTC.
    zone.is_some_and(|zone| zone.is_empty() || tz::TimeZone::from_posix_tz(zone).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_system_time_is_converted() {
        let day = Duration::from_secs(24 * 3600);
        let (years_past, years_to_come) = (365 * day * 250_000, 365 * day * 270_000);
        for (time, text) in [
            (SystemTime::UNIX_EPOCH, Some("1970-01-01 00:00:00")),
            (SystemTime::UNIX_EPOCH + day, Some("1970-01-02 00:00:00")),
            (SystemTime::UNIX_EPOCH - day, Some("1969-12-31 00:00:00")),
            (
                SystemTime::UNIX_EPOCH - Duration::from_nanos(1),
                Some("1969-12-31 23:59:59.999999999"),
            ),
            (SystemTime::UNIX_EPOCH - years_past, None),
            (SystemTime::UNIX_EPOCH + years_to_come, None),
            (
                SystemTime::UNIX_EPOCH - Duration::from_secs(i64::MAX as u64),
                None,
            ),
            (
                SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX as u64),
                None,
            ),
        ] {
            let utc = utc_at(time);
            if let Some(text) = text {
                assert_eq!(utc.naive_utc().to_string(), text);
            }
            assert_eq!(utc < DateTime::UNIX_EPOCH, time < SystemTime::UNIX_EPOCH);
            // The largest offsets from UTC, and the zone of this machine.
            for hours in [-23, 23] {
                let zone = chrono::FixedOffset::east_opt(hours * 3600).expect("less than a day");
                let _ = utc.with_timezone(&zone).naive_local();
            }
            let _ = utc.with_timezone(&Local).naive_local();
        }
    }

    #[test]
    fn posix_and_installed_time_zones_are_known() {
        for zone in [
            "",
            "UTC0",
            "CET-1",
            "CET-1CEST,M3.5.0,M10.5.0/3",
            "<+0330>-3:30",
            ":/dev/null/..",
        ] {
            let is_known = !zone.starts_with(':');
            assert_eq!(is_time_zone(Some(zone)), is_known, "{zone}");
        }
        for zone in [
            "CET-1CEST",
            "Nowhere/Atall",
            "UTC",
            "1",
            "CET-1CEST,M3.5.0",
            "CET-99",
        ] {
            let is_file = std::path::Path::new("/usr/share/zoneinfo")
                .join(zone)
                .exists();
            assert_eq!(is_time_zone(Some(zone)), is_file, "{zone}");
        }
        assert!(!is_time_zone(None));
    }
}
