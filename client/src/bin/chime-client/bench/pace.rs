//! When requests are due, and how long they have been on their way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

const NANOSECONDS_A_SECOND: u128 = 1_000_000_000;

/// Says when requests are due.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Requests that may still be taken.
    requests_left: u64,
    /// From then on nothing is due.
    end: Option<Instant>,
    /// As much as there is room for, if there is none.
    schedule: Option<Schedule>,
}

impl Pace {
    /// A pace that ends after so many requests, or so much time.
    ///
    /// In an open loop that time is when requests are due. What was not taken by then may be taken for
    /// as long as `grace`.
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
            // What does not fit an instant is for ever.
            end: duration.and_then(|duration| start.checked_add(duration)),
            schedule,
        }
    }

    /// How many requests are due by `now` and not taken, which is as many as are left in a closed loop.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        if self.has_ended(now) {
            return 0;
        }
        match &self.schedule {
            Some(schedule) => schedule.due(now).min(self.requests_left),
            None => self.requests_left,
        }
    }

    /// Takes up to so many requests that are due.
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

    /// When the next request is due in an open loop, after the last of which it is over.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.schedule.as_ref().map(Schedule::next)
    }

    /// When it is over, whatever is left.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// Whether nothing will be due any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let all_taken = self.requests_left == 0 && self.next().is_none_or(|next| now >= next);
        all_taken || self.has_ended(now)
    }

    /// Whether requests are due as soon as there is room for them.
    pub(crate) fn is_closed_loop(&self) -> bool {
        self.schedule.is_none()
    }

    /// How many requests were to be taken and never were, now that it is over.
    pub(crate) fn unsent(&self) -> u64 {
        match (&self.schedule, self.end) {
            (None, Some(_)) => 0,
            _ => self.requests_left,
        }
    }

    /// Whether the time to send has passed, if there is one.
    pub(crate) fn has_ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| now >= end)
    }
}

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Requests(u64),
    Duration(Duration),
}

/// Requests that are due one after the other, at a steady rate.
#[derive(Debug)]
struct Schedule {
    /// When the first is due.
    start: Instant,
    /// Requests a second.
    rate: u128,
    taken: u64,
}

impl Schedule {
    /// How many are due within so much time.
    fn requests(&self, duration: Duration) -> u64 {
        let requests = (duration.as_nanos() * self.rate).div_ceil(NANOSECONDS_A_SECOND);
        u64::try_from(requests).unwrap_or(u64::MAX)
    }

    fn due(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let due = elapsed * self.rate / NANOSECONDS_A_SECOND + 1;
        u64::try_from(due)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.taken)
    }

    /// Takes requests that are due: when the first was, and how far interval they are.
    fn take(&mut self, count: u64) -> (Instant, Duration) {
        let first = self.next();
        self.taken += count;
        let interval = NANOSECONDS_A_SECOND / self.rate;
        (first, Duration::from_nanos(interval as u64))
    }

    /// When the first that was not taken is due.
    fn next(&self) -> Instant {
        let nanoseconds = (u128::from(self.taken) * NANOSECONDS_A_SECOND).div_ceil(self.rate);
        self.start + Duration::from_nanos(nanoseconds as u64)
    }
}

/// Requests that are sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// At least one.
    pub(crate) count: u64,
    /// When the first was due.
    first: Instant,
    /// How long after the one before each other was due.
    interval: Duration,
}

/// The requests on their way on one connection, in order.
///
/// There are never more batches than requests, of which the caller lets only so many be on their way.
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

    /// Takes so many of the oldest requests, of which there are as many, and records in nanoseconds how
    /// long ago they were due.
    pub(crate) fn complete(&mut self, replies: u64, now: Instant, latencies: &mut Histogram<u64>) {
        self.count -= replies;
        let mut replies_left = replies;
        while replies_left > 0 {
            let batch = self.batches.front_mut();
            let batch = batch.expect("the count is that of the batches");
            let count = batch.count.min(replies_left);
            replies_left -= count;
            batch.complete(count, now, latencies);
            if batch.count == 0 {
                self.batches.pop_front();
            }
        }
    }

    /// Takes all, and says how many.
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
    fn a_closed_loop_lets_all_be_taken_until_its_end() {
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
    fn an_open_loop_is_due_at_its_rate() {
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
    fn an_open_loop_is_over_when_one_more_would_be_due() {
        let start = Instant::now();
        let mut pace = Pace::new(Limit::Duration(10 * MS), Some(1000), MS, start);
        assert_eq!(pace.take(100, start + 9 * MS).unwrap().count, 10);
        assert!(!pace.is_over(start + 9 * MS));
        assert!(pace.is_over(start + 10 * MS));
        assert_eq!(pace.unsent(), 0);
    }

    #[test]
    fn what_is_late_has_a_time_of_grace() {
        let start = Instant::now();
        let mut pace = Pace::new(Limit::Duration(10 * MS), Some(1000), 5 * MS, start);
        assert_eq!(pace.take(4, start + 14 * MS).unwrap().count, 4);
        assert!(!pace.is_over(start + 14 * MS));
        assert_eq!(pace.take(4, start + 15 * MS), None);
        assert!(pace.is_over(start + 15 * MS));
        assert_eq!(pace.unsent(), 6);
    }

    #[test]
    fn a_latency_counts_from_when_its_request_was_due() {
        let start = Instant::now();
        let mut latencies = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        let mut pace = Pace::new(Limit::Requests(4), Some(1000), MS, start);
        let mut requests = InFlight::default();
        // Due at 0, 1, 2 and 3 ms, sent at 9 ms, answered at 10 and 20 ms.
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
