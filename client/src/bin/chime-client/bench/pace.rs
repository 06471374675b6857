//! The times at which requests are due, and the latency of requests in flight.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;

/// Determines when requests are due.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Requests not yet taken.
    requests_left: u64,
    /// No request is due from then on.
    end: Option<Instant>,
    /// The schedule of an open loop; none in a closed loop, where all requests are due at once.
    schedule: Option<Schedule>,
}

impl Pace {
    /// Creates a pace that ends at `limit`.
    ///
    /// In an open loop, a limit in time bounds the due times; late requests may be taken during a further
    /// `grace`.
    pub(crate) fn new(limit: Limit, rate: Option<u64>, grace: Duration, start: Instant) -> Pace {
        let schedule = rate.map(|rate| Schedule {
            start,
            rate: rate.into(),
            taken: 0,
        });
        let requests_left = match (limit, &schedule) {
            (Limit::Requests(requests), _) => requests,
            (Limit::Duration(duration), Some(schedule)) => schedule.requests(duration),
            (Limit::Duration(_), None) => u64::MAX,
        };
        let duration = match (limit, &schedule) {
            (Limit::Requests(_), _) => None,
            (Limit::Duration(duration), Some(_)) => duration.checked_add(grace),
            (Limit::Duration(duration), None) => Some(duration),
        };
        Pace {
            requests_left,
            // An end beyond the range of the clock never comes.
            end: duration.and_then(|duration| start.checked_add(duration)),
            schedule,
        }
    }

    /// Returns the number of requests due by `now` and not taken; in a closed loop all that are left.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        if self.has_ended(now) {
            return 0;
        }
        match &self.schedule {
            Some(schedule) => schedule.due(now).min(self.requests_left),
            None => self.requests_left,
        }
    }

    /// Takes up to `requests_max` due requests.
    pub(crate) fn take(&mut self, requests_max: u64, now: Instant) -> Option<Batch> {
        let count = self.due(now).min(requests_max);
        if count == 0 {
            return None;
        }
        self.requests_left -= count;
        let (first, interval) = match &mut self.schedule {
            None => (now, Duration::ZERO),
            Some(schedule) => schedule.take(count),
        };
        Some(Batch {
            count,
            first,
            interval,
        })
    }

    /// Returns when the next request is due in an open loop; after the last request, when the pace is over.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.schedule.as_ref().map(Schedule::next)
    }

    /// Returns the time at which the pace is over, even if requests are left.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// Whether no further request will be due.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let all_taken = self.requests_left == 0 && self.next().is_none_or(|next| now >= next);
        all_taken || self.has_ended(now)
    }

    /// Whether a request is due as soon as a connection is below its limit.
    pub(crate) fn is_closed_loop(&self) -> bool {
        self.schedule.is_none()
    }

    /// Returns the number of requests that were never taken. Call this once the pace is over.
    pub(crate) fn unsent(&self) -> u64 {
        match (&self.schedule, self.end) {
            (None, Some(_)) => 0,
            _ => self.requests_left,
        }
    }

    /// Whether the time limit has passed, if there is one.
    pub(crate) fn has_ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end)
    }
}

/// The length of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Requests(u64),
    Duration(Duration),
}

/// The due times of an open loop: a steady rate.
#[derive(Debug)]
struct Schedule {
    /// When the first request is due.
    start: Instant,
    /// Requests a second.
    rate: u128,
    taken: u64,
}

impl Schedule {
    /// Returns the number of requests due within `duration`.
    fn requests(&self, duration: Duration) -> u64 {
        let requests = (duration.as_nanos() * self.rate).div_ceil(NANOSECONDS_PER_SECOND);
        u64::try_from(requests).unwrap_or(u64::MAX)
    }

    fn due(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let due = elapsed * self.rate / NANOSECONDS_PER_SECOND + 1;
        u64::try_from(due)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.taken)
    }

    /// Takes `count` due requests, and returns when the first was due and the interval between them.
    fn take(&mut self, count: u64) -> (Instant, Duration) {
        let first = self.next();
        self.taken += count;
        let interval = NANOSECONDS_PER_SECOND / self.rate;
        (first, Duration::from_nanos(interval as u64))
    }

    /// Returns when the first request not yet taken is due.
    fn next(&self) -> Instant {
        let nanoseconds = (u128::from(self.taken) * NANOSECONDS_PER_SECOND).div_ceil(self.rate);
        self.start + Duration::from_nanos(nanoseconds as u64)
    }
}

/// Requests sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// At least one.
    pub(crate) count: u64,
    /// When the first was due.
    first: Instant,
    /// The interval between the due times.
    interval: Duration,
}

/// The requests in flight on one connection, in order.
///
/// The caller limits the number of requests; each batch holds at least one.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    batches: VecDeque<Batch>,
    count: u64,
}

impl InFlight {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn push(&mut self, batch: Batch) {
        self.count += batch.count;
        self.batches.push_back(batch);
    }

    /// Removes the oldest `replies` requests and records their latencies since the due time, in nanoseconds.
    ///
    /// Panics if fewer requests are in flight.
    pub(crate) fn complete(&mut self, replies: u64, now: Instant, latencies: &mut Histogram<u64>) {
        self.count -= replies;
        let mut replies_left = replies;
        while replies_left > 0 {
            let batch = self.batches.front_mut();
            let batch = batch.expect("the batches add up to the count");
            let count = batch.count.min(replies_left);
            replies_left -= count;
            batch.complete(count, now, latencies);
            if batch.count == 0 {
                self.batches.pop_front();
            }
        }
    }

    /// Removes all requests and returns their number.
    pub(crate) fn abandon(&mut self) -> u64 {
        self.batches.clear();
        std::mem::take(&mut self.count)
    }
}

impl Batch {
    fn complete(&mut self, count: u64, now: Instant, latencies: &mut Histogram<u64>) {
        self.count -= count;
        if self.interval.is_zero() {
            latencies.saturating_record_n(nanoseconds(self.first, now), count);
            return;
        }
        for _ in 0..count {
            latencies.saturating_record(nanoseconds(self.first, now));
            self.first += self.interval;
        }
    }
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    let nanoseconds = to.saturating_duration_since(from).as_nanos();
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use hdrhistogram::Histogram;

    use super::{InFlight, Limit, Pace};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn in_a_closed_loop_all_requests_are_due_until_the_end() {
        let start = Instant::now();
        let mut pace = Pace::new(Limit::Requests(5), None, MS, start);
        assert_eq!(pace.take(3, start).unwrap().count, 3);
        assert_eq!(pace.take(3, start).unwrap().count, 2);
        assert_eq!(pace.take(3, start), None);
        assert!(pace.is_over(start));

        let mut pace = Pace::new(Limit::Duration(MS), None, MS, start);
        assert_eq!(pace.take(7, start).unwrap().count, 7);
        assert_eq!(pace.take(7, start + MS), None);
        assert!(pace.is_over(start + MS));
        assert_eq!(pace.unsent(), 0);
    }

    #[test]
    fn in_an_open_loop_requests_are_due_at_the_rate() {
        let start = Instant::now();
        for rate in [1, 3, 7, 1000, 999_999_937, 1_000_000_000] {
            let limit = Limit::Duration(Duration::from_secs(3600));
            let mut pace = Pace::new(limit, Some(rate), MS, start);
            for taken in 0..100 {
                let next = pace.next().unwrap();
                if taken > 0 {
                    assert_eq!(pace.due(next - Duration::from_nanos(1)), 0);
                }
                assert_eq!(pace.take(u64::MAX, next).unwrap().count, 1);
            }
            let minute = start + Duration::from_secs(60);
            assert_eq!(pace.due(minute), (60 * rate + 1).saturating_sub(100));
        }
    }

    #[test]
    fn an_open_loop_is_over_when_the_next_request_would_be_due() {
        let start = Instant::now();
        let mut pace = Pace::new(Limit::Duration(10 * MS), Some(1000), MS, start);
        assert_eq!(pace.take(100, start + 9 * MS).unwrap().count, 10);
        assert!(!pace.is_over(start + 9 * MS));
        assert!(pace.is_over(start + 10 * MS));
        assert_eq!(pace.unsent(), 0);
    }

    #[test]
    fn late_requests_may_be_taken_during_the_grace_period() {
        let start = Instant::now();
        let mut pace = Pace::new(Limit::Duration(10 * MS), Some(1000), 5 * MS, start);
        assert_eq!(pace.take(4, start + 14 * MS).unwrap().count, 4);
        assert!(!pace.is_over(start + 14 * MS));
        assert_eq!(pace.take(4, start + 15 * MS), None);
        assert!(pace.is_over(start + 15 * MS));
        assert_eq!(pace.unsent(), 6);
    }

    #[test]
    fn latency_is_measured_from_the_due_time() {
        let start = Instant::now();
        let mut latencies = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        let mut pace = Pace::new(Limit::Requests(4), Some(1000), MS, start);
        let mut requests = InFlight::default();
        // Due at 0, 1, 2 and 3 ms, sent at 9 ms, replied to at 10 and 20 ms.
        requests.push(pace.take(9, start + 9 * MS).unwrap());
        requests.complete(3, start + 10 * MS, &mut latencies);
        requests.complete(1, start + 20 * MS, &mut latencies);
        for ms in [8, 9, 10, 17] {
            assert_eq!(latencies.count_at(ms * 1_000_000), 1, "{ms}");
        }
        assert_eq!(latencies.len(), 4);
        assert_eq!(requests.abandon(), 0);
    }
}
