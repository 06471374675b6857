//! The worker threads, their counters and their heartbeats.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::sync::thread::{self, JoinHandle};
use crate::{CounterReader, CounterSnapshot, Counters};

/// How often a worker records a heartbeat.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A worker without a heartbeat for longer than this is stuck.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// The running worker threads.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    stats: Stats,
}

impl Workers {
    /// Starts a thread for each of these workers. Each runs until the token that it gets is cancelled: by
    /// `stop`, or because another worker has ended.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started. The others are stopped then.
    pub(crate) fn start<W>(workers: Vec<W>, stop: &CancellationToken) -> io::Result<Workers>
    where
        W: FnOnce(Counters, &WorkerStats, CancellationToken) + Send + 'static,
    {
        let stop_all = stop.child_token();
        let stop_on_error = stop_all.clone().drop_guard();
        let counters: Vec<_> = workers.iter().map(|_| Counters::default()).collect();
        let stats = Stats::new(&counters);
        let mut threads = Vec::new();
        let workers = workers.into_iter().zip(counters);
        for ((worker, counters), worker_stats) in workers.zip(&*stats.workers) {
            let worker_stats = Arc::clone(worker_stats);
            // A child token per worker, so that workers do not contend for one lock.
            let stop = stop_all.child_token();
            let stop_others = stop_all.clone().drop_guard();
            threads.push(thread::Builder::new().spawn(move || {
                let _stop_others = stop_others;
                worker(counters, &worker_stats, stop);
            })?);
        }
        stop_on_error.disarm();
        Ok(Workers { threads, stats })
    }

    /// Returns a handle to the counters and the liveness of the workers.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// Waits until every worker has ended, and returns the sum of their counters.
    ///
    /// # Errors
    ///
    /// If a worker panicked. The others have drained by then.
    pub fn join(self) -> io::Result<CounterSnapshot> {
        let ended = self.threads.into_iter().map(JoinHandle::join);
        // Join all of them before reporting a panic.
        let ended: Vec<_> = ended.collect();
        match ended.iter().any(Result::is_err) {
            true => Err(io::Error::other("a worker panicked")),
            false => Ok(self.stats.snapshot()),
        }
    }
}

/// The counters and the liveness of a server's workers. Clones are handles to the same workers.
#[derive(Clone, Debug)]
pub struct Stats {
    workers: Arc<[Arc<WorkerStats>]>,
}

impl Stats {
    fn new(workers: &[Counters]) -> Stats {
        let worker_stats = |counters: &Counters| WorkerStats {
            counters: counters.reader(),
            start: Instant::now(),
            beat_ms: AtomicU64::new(0),
        };
        Stats {
            workers: workers.iter().map(worker_stats).map(Arc::new).collect(),
        }
    }

    /// Returns the sum of the counters of all workers.
    pub fn snapshot(&self) -> CounterSnapshot {
        let mut total = CounterSnapshot::default();
        for worker in &*self.workers {
            total += worker.counters.snapshot();
        }
        total
    }

    /// Returns whether every worker had a heartbeat in the last ten seconds.
    pub fn is_responding(&self) -> bool {
        self.workers.iter().all(|worker| worker.is_alive())
    }
}

/// The counters and the heartbeat of one worker.
#[derive(Debug)]
pub(crate) struct WorkerStats {
    counters: CounterReader,
    start: Instant,
    /// The last heartbeat, in milliseconds since `start`.
    beat_ms: AtomicU64,
}

impl WorkerStats {
    /// Records heartbeats until it is dropped.
    pub(crate) async fn beat(&self) {
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        loop {
            heartbeat.tick().await;
            let milliseconds = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.beat_ms.store(milliseconds, Ordering::Relaxed);
        }
    }

    fn is_alive(&self) -> bool {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(beat) <= HEARTBEAT_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use shuttle::future::block_on;
    use tokio::time::timeout;

    use super::*;
    use crate::Counter;
    use crate::sync::{explore, sample};

    #[tokio::test(start_paused = true)]
    async fn a_worker_without_a_heartbeat_for_ten_seconds_is_stuck() {
        let stats = Stats::new(&[Counters::default(), Counters::default()]);
        assert!(stats.is_responding());
        let beat = |index: usize| {
            let worker_stats = Arc::clone(&stats.workers[index]);
            async move { timeout(Duration::from_secs(11), worker_stats.beat()).await }
        };
        let _ = tokio::join!(beat(0), beat(1));
        assert!(stats.is_responding());
        let _ = beat(0).await;
        assert!(!stats.is_responding(), "worker 1 is stuck");
        let _ = beat(1).await;
        assert!(!stats.is_responding(), "worker 0 is stuck");
        let _ = tokio::join!(beat(0), beat(1));
        assert!(stats.is_responding());
    }

    #[test]
    fn a_stop_reaches_every_worker() {
        explore(|| {
            let stop = CancellationToken::new();
            let canceller = shuttle::thread::spawn({
                let stop = stop.clone();
                move || stop.cancel()
            });
            let worker =
                |_: Counters, _: &WorkerStats, stop: CancellationToken| block_on(stop.cancelled());
            let workers = Workers::start(vec![worker; 2], &stop).expect("started");
            workers.join().expect("no worker panicked");
            canceller.join().expect("cancelled");
        });
    }

    #[test]
    fn a_panic_stops_the_others_and_is_reported_once_they_have_ended() {
        explore(|| {
            let ended = Arc::new(AtomicU64::new(0));
            let worker = |index| {
                let ended = Arc::clone(&ended);
                move |_: Counters, _: &WorkerStats, stop: CancellationToken| {
                    if index == 0 {
                        // Unlike `panic!`, it skips the panic hook: shuttle's reports a failed test.
                        panic::resume_unwind(Box::new("injected by the test"));
                    }
                    block_on(stop.cancelled());
                    shuttle::thread::yield_now();
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            };
            let stop = CancellationToken::new();
            let workers = Workers::start((0..3).map(worker).collect(), &stop).expect("started");
            assert!(workers.join().is_err());
            assert_eq!(ended.load(Ordering::Relaxed), 2);
            assert!(!stop.is_cancelled(), "the token of the caller");
        });
    }

    #[test]
    fn no_count_of_a_worker_is_lost() {
        explore(|| {
            let worker = |counters: Counters, _: &WorkerStats, _| {
                counters.count(Counter::ConnectionServed);
                counters.add(Counter::ConnectionServed, 2);
            };
            let stop = CancellationToken::new();
            let workers = Workers::start(vec![worker; 2], &stop).expect("started");
            let snapshot = workers.join().expect("no worker panicked");
            assert_eq!(snapshot[Counter::ConnectionServed], 6);
        });
    }

    #[test]
    fn counters_never_decrease_while_a_worker_counts() {
        sample(|| {
            let worker = |counters: Counters, _: &WorkerStats, _| {
                for _ in 0..100 {
                    counters.count(Counter::ConnectionServed);
                }
            };
            let stop = CancellationToken::new();
            let workers = Workers::start(vec![worker], &stop).expect("started");
            let stats = workers.stats();
            let mut last = 0;
            for _ in 0..4 {
                let served = stats.snapshot()[Counter::ConnectionServed];
                assert!(served >= last, "{last} decreased to {served}");
                last = served;
            }
            let snapshot = workers.join().expect("the worker did not panic");
            assert_eq!(snapshot[Counter::ConnectionServed], 100);
        });
    }
}
