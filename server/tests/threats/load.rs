//! Many clients of one server, and a server that is held while they act.

use std::fs;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::WELCOME;
use crate::process::{Server, read_line, wait_until};

/// The numbers of clients that tests run with.
pub(crate) const CLIENTS: [usize; 3] = [50, 500, 2500];

/// The numbers of workers that tests run with.
pub(crate) const WORKERS: [&str; 2] = ["1", "2"];

/// Waits for the other tests with many clients: they would disturb each other.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test with each of these numbers of clients and with each number of workers.
pub(crate) fn for_each_load(clients: &[usize], mut test: impl FnMut(usize, &str)) {
    let _turn = turn();
    for clients in clients {
        if can_open(*clients as u64) {
            WORKERS
                .into_iter()
                .for_each(|workers| test(*clients, workers));
        }
    }
}

/// Raises the soft limit of open files to the hard one. Returns whether this process can have a
/// socket for each of these clients; the server inherits the limit.
pub(crate) fn can_open(clients: u64) -> bool {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
    let can_open = hard > clients + 500;
    if !can_open {
        println!("SKIPPED: {clients} clients: the hard limit of open files is {hard}");
    }
    can_open
}

/// Connects, and reads the welcomes.
pub(crate) fn welcomed_clients(server: &Server, clients: usize) -> Vec<TcpStream> {
    let clients: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    for client in &clients {
        assert_eq!(read_line(client), WELCOME);
    }
    clients
}

/// Stops the process (SIGSTOP), and waits until all of its threads have stopped.
pub(crate) fn hold(server: &Server) {
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

/// Continues the process (SIGCONT).
pub(crate) fn release(server: &Server) {
    server.signal(Signal::SIGCONT);
}
