//! T16: a graceful shutdown under load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::load::{WORKERS, connect_all, for_each_load, lock_load_tests, resume, suspend};
use crate::process::{ServerProcess, wait_until};
use crate::{ANSWERED, WELCOME, read_line, record, seconds, start, wait_for_metric};

/// The numbers of clients at shutdown.
const CLIENTS: [usize; 4] = [50, 500, 2000, 4000];

/// The replies lost and connections reset, over all clients.
#[derive(Default)]
struct Losses {
    replies: usize,
    resets: usize,
}

impl Losses {
    /// Reads all connections to EOF, and compares each with the expected replies.
    fn of(clients: Vec<TcpStream>, expected: &str) -> Losses {
        let mut losses = Losses::default();
        let mut text = String::new();
        for mut client in clients {
            text.clear();
            losses.resets += usize::from(client.read_to_string(&mut text).is_err());
            assert!(expected.starts_with(&text), "unexpected: {text:?}");
            losses.replies += expected[text.len()..].lines().count();
        }
        losses
    }

    fn assert_none(&self, case: &str) {
        let Losses { replies, resets } = self;
        assert_eq!((*replies, *resets), (0, 0), "replies lost, resets: {case}");
    }
}

/// Starts a server whose drain timeout is never reached.
fn start_without_drain_timeout(workers: &str) -> ServerProcess {
    start(&["--workers", workers, "--drain-timeout", "1h"])
}

fn assert_exits_cleanly(server: ServerProcess) {
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn t16_no_reply_is_lost_at_any_number_of_clients() {
    for_each_load(&CLIENTS, |clients, workers| {
        let mut slowest = Duration::ZERO;
        for (requests, is_suspended) in [(1, false), (200, false), (1, true), (200, true)] {
            let case = format!("{clients} clients, --workers {workers}, {requests} requests each");
            let server = start_without_drain_timeout(workers);
            let mut busy = connect_all(&server, clients);
            let idle = connect_all(&server, 50);
            if is_suspended {
                suspend(&server);
            }
            let batch = "12345\n".repeat(requests);
            for (number, client) in busy.iter_mut().enumerate() {
                client.write_all(batch.as_bytes()).expect("sent");
                if number % 10 == 0 {
                    client.write_all(b"12345").expect("sent");
                }
            }
            let start = Instant::now();
            server.signal(Signal::SIGTERM);
            if is_suspended {
                resume(&server);
            }
            Losses::of(busy, &"15\n".repeat(requests)).assert_none(&case);
            Losses::of(idle, "").assert_none(&case);
            assert_exits_cleanly(server);
            slowest = slowest.max(start.elapsed());
        }
        let label = format!(
            "{clients} clients, --workers {workers}: exit after SIGTERM, replies lost and resets"
        );
        record("T16", &label, format!("{}, 0", seconds(slowest)));
    });
}

#[test]
fn t16_clients_in_the_backlog_are_served() {
    for_each_load(&CLIENTS, |clients, workers| {
        let server = start_without_drain_timeout(workers);
        suspend(&server);
        let mut backlog: Vec<_> = (0..clients).map(|_| server.connect()).collect();
        for client in &mut backlog {
            client.write_all(b"12345\n12345\n").expect("sent");
        }
        server.signal(Signal::SIGTERM);
        resume(&server);
        let losses = Losses::of(backlog, &format!("{WELCOME}15\n15\n"));
        losses.assert_none(&format!("{clients} clients, --workers {workers}"));
        assert_exits_cleanly(server);
    });
}

/// Runs `flood` in three threads, and returns how long the server meanwhile takes to shut down.
fn time_shutdown_during(
    server: ServerProcess,
    flood: impl Fn(&AtomicBool, &AtomicU64) + Sync,
) -> Duration {
    const FLOODS: u64 = 3;
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..FLOODS {
            scope.spawn(|| flood(&is_over, &count));
        }
        wait_until("the flood has begun", || {
            count.load(Ordering::Relaxed) >= 1000
        });
        let start = Instant::now();
        server.signal(Signal::SIGTERM);
        assert_exits_cleanly(server);
        is_over.store(true, Ordering::Relaxed);
        start.elapsed()
    })
}

/// Connects and resets in a loop. A reset leaves no port in TIME_WAIT.
fn flood_connects(server: SocketAddr, is_over: &AtomicBool, count: &AtomicU64) {
    while !is_over.load(Ordering::Relaxed) {
        if let Ok(stream) = TcpStream::connect(server) {
            let socket = SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).expect("set");
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends requests in a loop.
fn flood_datagrams(server: SocketAddr, is_over: &AtomicBool, count: &AtomicU64) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        socket.send_to(b"day", server).expect("sent");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn t16_a_connect_flood_does_not_delay_shutdown() {
    let _lock = lock_load_tests();
    for workers in WORKERS {
        let server = start_without_drain_timeout(workers);
        let address = server.tcp[0];
        let time = time_shutdown_during(server, |is_over, count| {
            flood_connects(address, is_over, count);
        });
        let label = format!("connect flood, --workers {workers}: exit after SIGTERM");
        record("T16", &label, seconds(time));
    }
}

#[test]
fn t16_a_datagram_flood_does_not_delay_shutdown() {
    let _lock = lock_load_tests();
    for workers in WORKERS {
        let server = start_without_drain_timeout(workers);
        let address = server.udp[0];
        let time = time_shutdown_during(server, |is_over, count| {
            flood_datagrams(address, is_over, count);
        });
        let label = format!("datagram flood, --workers {workers}: exit after SIGTERM");
        record("T16", &label, seconds(time));
    }
}

#[test]
fn t16_datagrams_received_before_shutdown_are_answered() {
    for workers in WORKERS {
        let server = start_without_drain_timeout(workers);
        let clients: Vec<_> = (0..50).map(|_| server.udp_client()).collect();
        // A reply from the admin endpoint shows that all workers have started.
        wait_for_metric(&server, ANSWERED, 0);
        suspend(&server);
        for client in &clients {
            client.send(b"day").expect("sent");
        }
        server.signal(Signal::SIGTERM);
        resume(&server);
        for client in &clients {
            client.recv(&mut [0; 64]).expect("a reply");
        }
        assert_exits_cleanly(server);
    }
}

#[test]
fn t16_a_client_that_never_closes_does_not_delay_shutdown() {
    for workers in WORKERS {
        let server = start_without_drain_timeout(workers);
        let clients = connect_all(&server, 50);
        server.signal(Signal::SIGTERM);
        assert_exits_cleanly(server);
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).expect("EOF"), 0);
        }
    }
}

#[test]
fn t16_connections_and_datagrams_after_the_drain_are_refused() {
    let server = start_without_drain_timeout("2");
    let mut early = connect_all(&server, 1);
    // Unread replies keep the drain from ending.
    crate::write_until_blocked(&mut early[0], &b"help\n".repeat(1_000_000));
    server.signal(Signal::SIGTERM);
    wait_until("the listener is closed", || {
        TcpStream::connect(server.tcp[0]).is_err()
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server.udp[0]).expect("connected");
    wait_until("the datagram socket is closed", || {
        socket.send(b"day").is_err()
    });
    // The connection is still served.
    assert!(read_line(&early[0]).ends_with('\n'));
}
