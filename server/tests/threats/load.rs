//! Many clients of one server, and suspending the server (SIGSTOP) while they act.

use std::fs;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::Signal;

use crate::WELCOME;
use crate::process::{ServerProcess, raise_descriptor_limit, read_line, wait_until};

/// The numbers of clients of a test.
pub(crate) const CLIENTS: [usize; 3] = [50, 500, 2500];

/// The numbers of workers of a test.
pub(crate) const WORKERS: [&str; 2] = ["1", "2"];

/// Descriptors of a load for anything else than its clients.
const RESERVED: u64 = 500;

/// Waits until no other load test runs: they would disturb each other's measurements.
pub(crate) fn lock_load_tests() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test with each of these numbers of clients and with each number of workers, all at once if there are enough
/// descriptors: most of these tests wait for timeouts. Times are measured beside the other loads of the test.
pub(crate) fn for_each_load(clients: &[usize], test: impl Fn(usize, &str) + Sync) {
    let _lock = lock_load_tests();
    let loads = loads(clients);
    let total: usize = loads.iter().map(|(clients, _)| clients).sum();
    if total as u64 + RESERVED * loads.len() as u64 >= raise_descriptor_limit() {
        loads
            .iter()
            .for_each(|(clients, workers)| test(*clients, workers));
        return;
    }
    thread::scope(|scope| {
        for (clients, workers) in loads {
            let test = &test;
            scope.spawn(move || test(clients, workers));
        }
    });
}

/// Like [`for_each_load`], one after the other: for tests whose checks depend on how busy the machine is.
pub(crate) fn for_each_load_in_turn(clients: &[usize], mut test: impl FnMut(usize, &str)) {
    let _lock = lock_load_tests();
    for (clients, workers) in loads(clients) {
        test(clients, workers);
    }
}

fn loads(clients: &[usize]) -> Vec<(usize, &'static str)> {
    let clients = clients.iter().filter(|clients| can_open(**clients as u64));
    clients
        .flat_map(|clients| WORKERS.map(|workers| (*clients, workers)))
        .collect()
}

/// Returns whether there are enough descriptors for a socket for each of these clients, here and in the server, which
/// inherits the limit.
pub(crate) fn can_open(clients: u64) -> bool {
    let limit = raise_descriptor_limit();
    let can_open = limit > clients + RESERVED;
    if !can_open {
        println!("SKIPPED: {clients} clients: the hard limit of open files is {limit}");
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
