//! The worker threads, their counters and their heartbeats.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::{CounterSnapshot, Counters};

/// How often a worker records a heartbeat.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A worker without a heartbeat for longer than this is stuck.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// The running worker threads.
#[derive(Debug)]
pub struct Workers {
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) stats: Stats,
}

impl Workers {
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
    pub(crate) workers: Arc<[Arc<WorkerStats>]>,
}

impl Stats {
    pub(crate) fn new(workers: usize) -> Stats {
        let worker_stats = |_| WorkerStats {
            counters: Arc::default(),
            start: Instant::now(),
            beat_ms: AtomicU64::new(0),
        };
        Stats {
            workers: (0..workers).map(worker_stats).map(Arc::new).collect(),
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
    pub(crate) counters: Arc<Counters>,
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
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::thread;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_without_a_heartbeat_for_ten_seconds_is_stuck() {
        let stats = Stats::new(2);
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
    fn a_panic_is_reported_once_every_worker_has_ended() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        let (release, released) = mpsc::channel::<()>();
        let slow = move || {
            let _ = released.recv();
            ended.store(true, Ordering::Relaxed);
        };
        let workers = Workers {
            threads: vec![
                // `resume_unwind` skips the panic hook, which may be slower than the other thread.
                thread::spawn(|| panic::resume_unwind(Box::new("injected by the test"))),
                thread::spawn(slow),
            ],
            stats: Stats::new(2),
        };
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(release);
        });
        assert!(workers.join().is_err());
        assert!(has_ended.load(Ordering::Relaxed));
    }
}
