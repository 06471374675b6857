//! The locks, atomics and threads of the state that workers share.
//!
//! They are those of `std`. In unit tests they are those of shuttle, which runs threads one at a time and decides
//! before each step which one is next. `explore` and `sample` run a test under many such interleavings:
//! address permits, connection permits, the rate limit, counters, and starting and stopping workers. A module that
//! takes a lock from `std` instead is not explored.
//!
//! What this leaves out:
//!
//! - **Weak memory.** Every step is sequentially consistent, whatever its `Ordering`. The relaxed atomics,
//!   counters and heartbeats, do not need more: each has one writer, no other memory depends on its value, and
//!   all threads agree on the order of the values of one atomic. Joining a worker makes its last counts visible.
//! - **tokio.** Its semaphores and cancellation tokens are one step each. tokio explores their inside with loom. The
//!   reference counts of `Arc` are no steps either.
//! - **More threads.** The tests have two or three.
//! - **Sockets and time.** A worker's event loop, deadlines and heartbeats are for the simulation and the
//!   loopback tests.

#[cfg(not(test))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic::AtomicU64},
    thread,
};

#[cfg(test)]
pub(crate) use self::explored::*;

#[cfg(test)]
mod explored {
    pub(crate) use shuttle::sync::atomic::AtomicU64;
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};

    use shuttle::scheduler::{DfsScheduler, RandomScheduler, Scheduler};
    use shuttle::{Config, Runner};

    /// Runs a test once for each interleaving of its threads.
    ///
    /// # Panics
    ///
    /// If one of them panics or deadlocks. Prints its schedule, for `shuttle::replay`.
    pub(crate) fn explore(test: impl Fn() + Send + Sync + 'static) {
        run(DfsScheduler::new(None, false), test);
    }

    /// Runs a test under 1,000 random interleavings of its threads, for tests with too many to [`explore`].
    pub(crate) fn sample(test: impl Fn() + Send + Sync + 'static) {
        run(RandomScheduler::new_from_seed(0, 1000), test);
    }

    fn run(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + 'static) {
        let mut config = Config::new();
        // The buffers of a worker pass over the stack.
        config.stack_size = 1 << 20;
        // The documentation of this module says what relaxed atomics need.
        config.silence_warnings = true;
        Runner::new(scheduler, config).run(test);
    }

    /// The threads of shuttle. As in `std`, a panic ends only its thread.
    pub(crate) mod thread {
        use std::io;
        use std::panic::{self, AssertUnwindSafe};
        use std::thread::Result;

        #[derive(Default)]
        pub(crate) struct Builder(shuttle::thread::Builder);

        impl Builder {
            pub(crate) fn new() -> Builder {
                Builder::default()
            }

            pub(crate) fn spawn<T: Send + 'static>(
                self,
                thread: impl FnOnce() -> T + Send + 'static,
            ) -> io::Result<JoinHandle<T>> {
                let thread = || panic::catch_unwind(AssertUnwindSafe(thread));
                self.0.spawn(thread).map(JoinHandle)
            }
        }

        #[derive(Debug)]
        pub(crate) struct JoinHandle<T>(shuttle::thread::JoinHandle<Result<T>>);

        impl<T> JoinHandle<T> {
            pub(crate) fn join(self) -> Result<T> {
                self.0.join()?
            }
        }
    }
}
