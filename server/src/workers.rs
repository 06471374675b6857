//! The threads of a server, and how others see what they do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::{CounterSnapshot, Counters};

/// How often a worker shows that it is alive, and how long it may fail to.
const PULSE: Duration = Duration::from_secs(1);
const PULSE_MISSED_MAX: Duration = Duration::from_secs(10);

/// The threads that serve.
#[derive(Debug)]
pub struct Workers {
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) stats: Stats,
}

impl Workers {
    /// What shows how they are.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// Waits until all have ended, and returns what they have counted.
    ///
    /// # Errors
    ///
    /// When a worker panicked, once all the others have drained.
    pub fn join(self) -> io::Result<CounterSnapshot> {
        let ended = self.threads.into_iter().map(JoinHandle::join);
        // All of them, before a panic is reported.
        let ended: Vec<_> = ended.collect();
        match ended.iter().any(Result::is_err) {
            true => Err(io::Error::other("a worker panicked")),
            false => Ok(self.stats.snapshot()),
        }
    }
}

/// Shows how the workers of a server are, while they serve.
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

    /// What all of them have counted.
    pub fn snapshot(&self) -> CounterSnapshot {
        let mut total = CounterSnapshot::default();
        for worker in &*self.workers {
            total += worker.counters.snapshot();
        }
        total
    }

    /// Whether each of them has shown that it is alive in the last ten seconds.
    pub fn is_responding(&self) -> bool {
        self.workers.iter().all(|worker| worker.is_alive())
    }
}

/// What a worker shows of itself.
#[derive(Debug)]
pub(crate) struct WorkerStats {
    pub(crate) counters: Arc<Counters>,
    start: Instant,
    /// When it was last alive, in milliseconds since the start.
    beat_ms: AtomicU64,
}

impl WorkerStats {
    /// Shows that the worker is alive, again and again.
    pub(crate) async fn beat(&self) {
        let mut pulse = interval(PULSE);
        loop {
            pulse.tick().await;
            let milliseconds = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.beat_ms.store(milliseconds, Ordering::Relaxed);
        }
    }

    fn is_alive(&self) -> bool {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(beat) <= PULSE_MISSED_MAX
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
    async fn a_worker_that_shows_nothing_for_ten_seconds_does_not_respond() {
        let stats = Stats::new(2);
        assert!(stats.is_responding());
        let beat = |index: usize| {
            let worker_stats = Arc::clone(&stats.workers[index]);
            async move { timeout(Duration::from_secs(11), worker_stats.beat()).await }
        };
        let _ = tokio::join!(beat(0), beat(1));
        assert!(stats.is_responding());
        let _ = beat(0).await;
        assert!(!stats.is_responding(), "the other one is stuck");
        let _ = beat(1).await;
        assert!(!stats.is_responding(), "now the first one is");
        let _ = tokio::join!(beat(0), beat(1));
        assert!(stats.is_responding());
    }

    #[test]
    fn a_panic_is_reported_once_every_worker_has_ended() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&has_ended);
        let (release, released) = mpsc::channel::<()>();
        let slow = move || {
            let _ = released.recv();
            ending.store(true, Ordering::Relaxed);
        };
        let workers = Workers {
            threads: vec![
                // Without the hook, which may take longer than the other one.
                thread::spawn(|| panic::resume_unwind(Box::new("as the test wants it"))),
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
