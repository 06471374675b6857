//! Many clients of one server, and suspending the server (SIGSTOP) while they act.

use std::fs;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::WELCOME;
use crate::process::{ServerProcess, read_line, wait_until};

/// The numbers of clients of a test.
pub(crate) const CLIENTS: [usize; 3] = [50, 500, 2500];

/// The numbers of workers of a test.
pub(crate) const WORKERS: [&str; 2] = ["1", "2"];

/// Waits until no other load test runs: they would disturb each other's measurements.
pub(crate) fn lock_load_tests() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test with each of these numbers of clients and with each number of workers.
pub(crate) fn for_each_load(clients: &[usize], mut test: impl FnMut(usize, &str)) {
    let _lock = lock_load_tests();
    for clients in clients {
        if can_open(*clients as u64) {
            WORKERS
                .into_iter()
                .for_each(|workers| test(*clients, workers));
        }
    }
}

/// Raises the soft limit of open files to the hard limit. Returns whether that suffices for a socket for
/// each of these clients, here and in the server, which inherits the limit.
pub(crate) fn can_open(clients: u64) -> bool {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
    let can_open = hard > clients + 500;
    if !can_open {
        println!("SKIPPED: {clients} clients: the hard limit of open files is {hard}");
    }
    can_open
}

/// Connects this number of clients, and reads their welcomes.
pub(crate) fn connect_all(server: &ServerProcess, clients: usize) -> Vec<TcpStream> {
    let clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    for client in &clients {
        assert_eq!(read_line(client), WELCOME);
    }
    clients
}

/// Suspends the server with SIGSTOP, and waits until all of its threads have stopped.
pub(crate) fn suspend(server: &ServerProcess) {
    server.signal(Signal::SIGSTOP);
    let folder = format!("/proc/{}/task", server.child.id());
    wait_until("all threads are stopped", || {
        let mut threads = fs::read_dir(&folder).expect("a process").flatten();
        threads.all(|thread| {
            let status = fs::read_to_string(thread.path().join("status"));
            status.expect("a stopped thread").contains("State:\tT")
        })
    });
}

/// Resumes the server with SIGCONT.
pub(crate) fn resume(server: &ServerProcess) {
    server.signal(Signal::SIGCONT);
}
