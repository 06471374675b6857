//! T9 and T28: clients that read slowly, and clients that never read.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::load::{CLIENTS, WORKERS, can_open, turn};
use crate::process::waiting::wait_within;
use crate::{
    OPEN, PATIENCE, SLOW_READER, Server, WELCOME, assert_serves, metric, peak_memory_kb, record,
    seconds, start, wait_for,
};

/// A connection whose kernel holds little of what is not read.
pub(crate) fn narrow(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.connect(&server.into()).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.set_write_timeout(Some(PATIENCE)).expect("set");
    socket.into()
}

/// The welcome, and what the server replies to this many requests for help.
pub(crate) fn replies_to_help(server: &Server, requests: usize) -> String {
    let reply = server.converse("help\n");
    let reply = reply.strip_prefix(WELCOME).expect("a welcome first");
    format!("{WELCOME}{}", reply.repeat(requests))
}

/// The kernel's memory for the buffers of all TCP sockets of this machine, in KiB.
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

/// Clients that send these requests and read nothing, until the server has closed all of them. Returns
/// how long the first and the last of them were connected, and the bytes sent to each.
fn hoard(clients: usize, workers: &str, requests: &[u8]) -> (Duration, Duration, u64) {
    let server = start(&["--workers", workers, "--write-timeout", "1s"]);
    let before = peak_memory_kb(&server);
    let start = Instant::now();
    let connect = |_| {
        let client = narrow(server.tcp[0]);
        client.set_nonblocking(true).expect("set");
        (client, 0)
    };
    let mut hoarders: Vec<(TcpStream, usize)> = (0..clients).map(connect).collect();
    let mut first = None;
    // The minimum rate of 2,000 bytes a second grants time for what the kernels hold.
    wait_within(PATIENCE * 3, "all are closed", || {
        for (client, sent) in &mut hoarders {
            // It takes no more when the server reads no more, and at the latest when it is closed.
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
    wait_for(&server, OPEN, 0);
    let grown = peak_memory_kb(&server) - before;
    let sent = metric(&server, "chime_sent_bytes_total") / clients as u64;
    let who = format!("{clients} clients that read nothing, on {workers} workers");
    record("T09", &format!("memory for {who}"), format!("{grown} kB"));
    let what = format!("{who}: closed, at a write timeout of 1 s, after");
    record("T09", &what, seconds(last));
    // At most one block of unsent replies and one of unread requests each, 32 KiB both, and a quarter
    // of that for the allocator.
    let bound = 4096 + 80 * clients as u64;
    assert!(grown <= bound, "{who}: the server grew by {grown} kB");
    (first.expect("one was closed"), last, sent)
}

#[test]
fn t09_clients_that_never_read_cost_little_memory_and_are_closed() {
    let _turn = turn();
    // The replies to as much of `day` would fit into the buffers of the system.
    let requests = &b"help\n".repeat(1 << 18);
    // Side by side, since nearly all of the time is that of the deadline.
    thread::scope(|scope| {
        for clients in CLIENTS
            .into_iter()
            .filter(|clients| can_open(3 * *clients as u64))
        {
            for workers in WORKERS {
                scope.spawn(move || {
                    let (first, _, sent) = hoard(clients, workers, requests);
                    assert!(first >= Duration::from_secs(1), "closed after {first:?}");
                    assert!(
                        sent < 1 << 20,
                        "{sent} bytes went to a client that reads nothing"
                    );
                });
            }
        }
    });
}

const READERS: usize = 50;

/// Reads 200 bytes of each connection ten times a second for this long.
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
fn t28_a_steady_reader_is_not_cut() {
    const REQUESTS: usize = 12_000;
    const TIME: Duration = Duration::from_secs(20);
    let _turn = turn();
    let read_on = |workers| {
        let server = start(&["--workers", workers, "--write-timeout", "2s"]);
        let replies = replies_to_help(&server, REQUESTS);
        let wide = (0..READERS).map(|_| server.connect());
        let narrow = (0..READERS).map(|_| narrow(server.tcp[0]));
        let mut clients: Vec<_> = wide.chain(narrow).collect();
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
            client
                .read_to_string(&mut rest)
                .expect("an end, not a reset");
            assert!(rest == replies[read..], "a reply is lost");
        }
        memory
    };
    let before = tcp_memory_kb();
    let memory = thread::scope(|scope| {
        let threads = WORKERS.map(|workers| scope.spawn(move || read_on(workers)));
        let memory = threads.map(|thread| thread.join().expect("no panic"));
        memory.into_iter().max().expect("there are two")
    });
    let count = 2 * WORKERS.len() * READERS;
    let what = format!(
        "readers of 2 kB/s cut in {} at a write timeout of 2 s, of {count}",
        seconds(TIME)
    );
    record("T28", &what, 0);
    let what = format!("memory of the kernel for {count} slow readers");
    record(
        "T28",
        &what,
        format!("{} KiB", memory.saturating_sub(before)),
    );
}
