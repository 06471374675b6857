//! Latencies: recorded in a histogram of nanoseconds, and shown as text.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::HumanCount;

/// The largest recorded latency, in nanoseconds: one hour.
const MAX: u64 = 3_600_000_000_000;
/// The significant decimal digits of a recorded latency.
const DIGITS: u8 = 3;

/// The bars of the histogram up to the 99th percentile; one more is for the rest.
const BARS: u64 = 8;
/// The length of the longest bar.
const BAR_LENGTH: u64 = 36;

/// Returns an empty histogram of latencies in nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX, DIGITS).expect("the bounds are valid")
}

/// Returns a quantile, from 0 to 1; none without latencies.
pub(crate) fn quantile(latencies: &Histogram<u64>, quantile: f64) -> Option<Duration> {
    let nanoseconds = latencies.value_at_quantile(quantile);
    (!latencies.is_empty()).then(|| Duration::from_nanos(nanoseconds))
}

/// Returns the mean; none without latencies.
pub(crate) fn mean(latencies: &Histogram<u64>) -> Option<Duration> {
    let nanoseconds = latencies.mean() as u64;
    (!latencies.is_empty()).then(|| Duration::from_nanos(nanoseconds))
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

/// A unit of time. All durations of a table have the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    name: &'static str,
    nanoseconds: f64,
    decimals: usize,
}

impl Unit {
    /// Returns the largest unit in which `typical` is at least one.
    pub(crate) fn of(typical: Duration) -> Unit {
        let (name, nanoseconds, decimals) = match typical.as_micros() {
            0..1_000 => ("µs", 1e3, 1),
            1_000..1_000_000 => ("ms", 1e6, 3),
            1_000_000.. => ("s", 1e9, 3),
        };
        Unit {
            name,
            nanoseconds,
            decimals,
        }
    }

    /// Returns the duration as text, with its digits in groups of three.
    pub(crate) fn show(self, duration: Duration) -> String {
        let value = duration.as_nanos() as f64 / self.nanoseconds;
        let text = format!("{value:.*}", self.decimals);
        let (integer, fraction) = text.split_once('.').expect("each unit has decimals");
        let integer = HumanCount(integer.parse().expect("a duration is positive"));
        format!("{integer}.{fraction} {}", self.name)
    }
}

/// The minimum, the mean, percentiles and a text histogram of latencies.
pub(crate) struct Latencies<'a>(pub(crate) &'a Histogram<u64>);

impl Latencies<'_> {
    /// Writes the number of latencies in equal ranges up to the 99th percentile, and above it.
    fn write_bars(&self, f: &mut fmt::Formatter<'_>, unit: Unit) -> fmt::Result {
        let latencies = self.0;
        let (min, p99) = (latencies.min(), latencies.value_at_quantile(0.99));
        let ends = (1..=BARS).map(|bar| min + (p99 - min) * bar / BARS);
        let mut start = 0;
        let mut ranges = Vec::new();
        for end in ends.chain([latencies.max()]) {
            let end = latencies.highest_equivalent(end);
            if end >= start {
                ranges.push((end, latencies.count_between(start, end)));
                start = end + 1;
            }
        }
        let most = ranges.iter().map(|(_, count)| *count).max().unwrap_or(1);
        for (index, (end, count)) in ranges.into_iter().enumerate() {
            let label = if index == 0 { "histogram" } else { "" };
            let end = unit.show(Duration::from_nanos(end));
            // Few are still a bar.
            let bar = "#".repeat((count * BAR_LENGTH).div_ceil(most) as usize);
            let line = format!(
                "{label:<10}to {end:>14} {:>11} {bar}",
                HumanCount(count).to_string()
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Latencies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latencies = self.0;
        let Some(median) = quantile(latencies, 0.5) else {
            return writeln!(f, "latency   unknown");
        };
        let unit = Unit::of(median);
        let show = |duration: Option<Duration>| duration.map(|duration| unit.show(duration));
        for (name, duration) in [
            ("min", quantile(latencies, 0.0)),
            ("mean", mean(latencies)),
            ("p50", Some(median)),
            ("p90", quantile(latencies, 0.9)),
            ("p99", quantile(latencies, 0.99)),
            ("p99.9", quantile(latencies, 0.999)),
            ("max", quantile(latencies, 1.0)),
        ] {
            let label = if name == "min" { "latency" } else { "" };
            let duration = show(duration).unwrap_or_default();
            writeln!(f, "{label:<10}{name:<5} {duration:>16}")?;
        }
        self.write_bars(f, unit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Latencies, Unit, histogram};

    #[test]
    fn all_durations_of_a_report_have_one_unit() {
        let mut latencies = histogram();
        for microseconds in 1..=1_000 {
            latencies.record(microseconds * 1_000).expect("in range");
        }
        latencies.record(12_345_678_901).expect("in range");
        let expected = "\
latency   min             1.0 µs
          mean       12,831.5 µs
          p50           501.2 µs
          p90           901.1 µs
          p99           991.2 µs
          p99.9       1,000.4 µs
          max    12,348,031.0 µs
histogram to       124.8 µs         124 ####################################
          to       248.6 µs         124 ####################################
          to       372.5 µs         124 ####################################
          to       496.1 µs         124 ####################################
          to       620.0 µs         124 ####################################
          to       743.9 µs         123 ####################################
          to       867.8 µs         124 ####################################
          to       991.2 µs         124 ####################################
          to 12,348,031.0 µs          10 ###
";
        assert_eq!(Latencies(&latencies).to_string(), expected);
        assert_eq!(Latencies(&histogram()).to_string(), "latency   unknown\n");
    }

    #[test]
    fn a_unit_has_a_fixed_number_of_decimals() {
        for (typical, nanoseconds, text) in [
            (999_999, 1_234_567, "1,234.6 µs"),
            (999_999, 49, "0.0 µs"),
            (1_000_000, 1_234_567_890, "1,234.568 ms"),
            (1_000_000, 999_999_999, "1,000.000 ms"),
            (1_000_000_000, 59_999_600_000, "60.000 s"),
        ] {
            let unit = Unit::of(Duration::from_nanos(typical));
            assert_eq!(unit.show(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
