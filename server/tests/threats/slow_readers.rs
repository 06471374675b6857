//! T9 and T28: clients that read slowly, and clients that never read.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::load::{CLIENTS, WORKERS, can_open, lock_load_tests};
use crate::process::waiting::wait_within;
use crate::{
    OPEN, SLOW_READER, ServerProcess, TIMEOUT, WELCOME, assert_serves, memory_growth_kb, metric,
    peak_memory_kb, record, seconds, start, wait_for_metric,
};

/// Connects with a small receive buffer.
pub(crate) fn connect_with_small_buffer(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.connect(&server.into()).expect("a connection");
    socket.set_read_timeout(Some(TIMEOUT)).expect("set");
    socket.set_write_timeout(Some(TIMEOUT)).expect("set");
    socket.into()
}

/// Returns the welcome and the replies to this number of `help` requests.
pub(crate) fn replies_to_help(server: &ServerProcess, requests: usize) -> String {
    let reply = server.replies_to("help\n");
    let reply = reply.strip_prefix(WELCOME).expect("a welcome first");
    format!("{WELCOME}{}", reply.repeat(requests))
}

/// Returns the kernel memory of the buffers of all TCP sockets of this machine, in KiB.
fn tcp_memory_kb() -> u64 {
    let sockets = fs::read_to_string("/proc/net/sockstat").expect("statistics");
    let line = sockets.lines().find(|line| line.starts_with("TCP:"));
    let pages = line
        .and_then(|line| line.split_once(" mem "))
        .expect("a figure")
        .1;
    let pages: u64 = pages
        .split_whitespace()
        .next()
        .expect("a figure")
        .parse()
        .expect("a number");
    4 * pages
}

/// Runs clients that send these requests and never read, until the server has closed all of them. Returns
/// how long the first of them was connected, and the bytes sent to each.
fn run_non_readers(clients: usize, workers: &str, requests: &[u8]) -> (Duration, u64) {
    let server = start(&["--workers", workers, "--write-timeout", "1s"]);
    let before = peak_memory_kb(&server);
    let start = Instant::now();
    let connect = |_| {
        let client = connect_with_small_buffer(server.tcp[0]);
        client.set_nonblocking(true).expect("set");
        (client, 0)
    };
    let mut non_readers: Vec<(TcpStream, usize)> = (0..clients).map(connect).collect();
    let mut first = None;
    // The write deadline allows for reading the kernel's buffers at 2,000 bytes a second.
    wait_within(TIMEOUT * 3, "all clients are closed", || {
        for (client, sent) in &mut non_readers {
            // Writes fail when the server stops reading, and when it has closed the connection.
            while let Ok(length @ 1..) = client.write(&requests[*sent..]) {
                *sent += length;
            }
        }
        let closed = metric(&server, SLOW_READER);
        if closed > 0 && first.is_none() {
            first = Some(start.elapsed());
        }
        thread::sleep(Duration::from_millis(20));
        closed == clients as u64
    });
    let last = start.elapsed();
    assert_serves(&server);
    wait_for_metric(&server, OPEN, 0);
    let grown = memory_growth_kb(&server, before);
    let sent = metric(&server, "chime_sent_bytes_total") / clients as u64;
    let load = format!("{clients} clients that never read, --workers {workers}");
    let label = format!("{load}: memory growth");
    record("T09", &label, format!("{grown} kB"));
    let label = format!("{load}, write timeout 1 s: all closed after");
    record("T09", &label, seconds(last));
    // Per connection at most a block of unsent replies and a block of unread requests, 32 KiB each, and a
    // quarter more for the allocator.
    let bound = 4096 + 80 * clients as u64;
    assert!(grown <= bound, "{load}: the server grew by {grown} kB");
    (first.expect("one was closed"), sent)
}

#[test]
fn t09_clients_that_never_read_use_bounded_memory_and_are_closed() {
    let _lock = lock_load_tests();
    // `help` has long replies: those to `day` would fit into the kernel's buffers.
    let requests = &b"help\n".repeat(1 << 18);
    // In parallel, as nearly all of the time is spent waiting for the deadline.
    thread::scope(|scope| {
        for clients in CLIENTS
            .into_iter()
            .filter(|clients| can_open(3 * *clients as u64))
        {
            for workers in WORKERS {
                scope.spawn(move || {
                    let (first, sent) = run_non_readers(clients, workers, requests);
                    assert!(first >= Duration::from_secs(1), "closed after {first:?}");
                    assert!(
                        sent < 1 << 20,
                        "{sent} bytes sent to a client that never reads"
                    );
                });
            }
        }
    });
}

const READERS: usize = 50;

/// Reads 200 bytes from each connection ten times a second, for this duration. Adds to `read`.
fn read_steadily(clients: &mut [TcpStream], read: &mut usize, time: Duration) {
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < time {
        for client in &mut *clients {
            client.read_exact(&mut [0; 200]).expect("200 bytes");
        }
        *read += 200;
        rounds += 1;
        thread::sleep((Duration::from_millis(100) * rounds).saturating_sub(start.elapsed()));
    }
}

#[test]
fn t28_a_steady_slow_reader_is_not_cut() {
    const REQUESTS: usize = 12_000;
    const TIME: Duration = Duration::from_secs(10);
    let _lock = lock_load_tests();
    let run = |workers| {
        let server = start(&["--workers", workers, "--write-timeout", "2s"]);
        let replies = replies_to_help(&server, REQUESTS);
        let large_buffers = (0..READERS).map(|_| server.connect());
        let small_buffers = (0..READERS).map(|_| connect_with_small_buffer(server.tcp[0]));
        let mut clients: Vec<_> = large_buffers.chain(small_buffers).collect();
        for client in &mut clients {
            client.write_all(&b"help\n".repeat(REQUESTS)).expect("sent");
            client.shutdown(Shutdown::Write).expect("half-closed");
        }
        let mut read = 0;
        read_steadily(&mut clients, &mut read, TIME);
        assert_eq!(metric(&server, SLOW_READER), 0);
        assert_eq!(metric(&server, OPEN), 2 * READERS as u64);
        let memory = tcp_memory_kb();
        for mut client in clients {
            let mut rest = String::new();
            client.read_to_string(&mut rest).expect("EOF, not a reset");
            assert!(rest == replies[read..], "a reply is lost");
        }
        memory
    };
    let before = tcp_memory_kb();
    let memory = thread::scope(|scope| {
        let threads = WORKERS.map(|workers| scope.spawn(move || run(workers)));
        let memory = threads.map(|thread| thread.join().expect("no panic"));
        memory.into_iter().max().expect("two numbers of workers")
    });
    let count = 2 * WORKERS.len() * READERS;
    let label = format!(
        "{count} readers of 2 kB/s, write timeout 2 s: closed in {}",
        seconds(TIME)
    );
    record("T28", &label, 0);
    let label = format!("{count} slow readers: kernel memory");
    record(
        "T28",
        &label,
        format!("{} KiB", memory.saturating_sub(before)),
    );
}
