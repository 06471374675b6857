//! T16: a graceful shutdown under load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::load::{WORKERS, for_each_load, hold, release, turn, welcomed_clients};
use crate::process::{Server, wait_until};
use crate::{ANSWERED, WELCOME, read_line, record, seconds, start, wait_for};

/// The numbers of clients at a shutdown.
const CLIENTS: [usize; 4] = [50, 500, 2000, 4000];

/// What each client has got: the replies it misses, and whether the connection was reset.
#[derive(Default)]
struct Losses {
    replies: usize,
    resets: usize,
}

impl Losses {
    /// Reads all connections to their ends, on which these replies are due.
    fn of(clients: Vec<TcpStream>, expected: &str) -> Losses {
        let mut losses = Losses::default();
        let mut text = String::new();
        for mut client in clients {
            text.clear();
            losses.resets += usize::from(client.read_to_string(&mut text).is_err());
            assert!(expected.starts_with(&text), "not due: {text:?}");
            losses.replies += expected[text.len()..].lines().count();
        }
        losses
    }

    fn assert_none(&self, what: &str) {
        let Losses { replies, resets } = self;
        assert_eq!((*replies, *resets), (0, 0), "replies lost, resets: {what}");
    }
}

/// Starts a server whose drain timeout does not decide the test.
fn start_patient(workers: &str) -> Server {
    start(&["--workers", workers, "--drain-timeout", "1h"])
}

fn assert_ends_well(server: Server) {
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn t16_no_reply_is_lost_at_any_number_of_clients() {
    for_each_load(&CLIENTS, |clients, workers| {
        let mut slowest = Duration::ZERO;
        for (requests, is_held) in [(1, false), (200, false), (1, true), (200, true)] {
            let what = format!("{clients} clients, {workers} workers, {requests} requests each");
            let server = start_patient(workers);
            let mut busy = welcomed_clients(&server, clients);
            let idle = welcomed_clients(&server, 50);
            if is_held {
                hold(&server);
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
            if is_held {
                release(&server);
            }
            Losses::of(busy, &"15\n".repeat(requests)).assert_none(&what);
            Losses::of(idle, "").assert_none(&what);
            assert_ends_well(server);
            slowest = slowest.max(start.elapsed());
        }
        let what = format!(
            "ended after SIGTERM, replies lost and resets, of {clients} clients on {workers} workers"
        );
        record("T16", &what, format!("{}, 0", seconds(slowest)));
    });
}

#[test]
fn t16_clients_in_the_backlog_are_served() {
    for_each_load(&CLIENTS, |clients, workers| {
        let server = start_patient(workers);
        hold(&server);
        let mut waiting: Vec<_> = (0..clients).map(|_| server.connect()).collect();
        for client in &mut waiting {
            client.write_all(b"12345\n12345\n").expect("sent");
        }
        server.signal(Signal::SIGTERM);
        release(&server);
        let losses = Losses::of(waiting, &format!("{WELCOME}15\n15\n"));
        losses.assert_none(&format!("{clients} clients, {workers} workers"));
        assert_ends_well(server);
    });
}

/// Runs `flood` in some threads, stops the server beside them, and returns how long that takes.
fn time_stop_beside(server: Server, flood: impl Fn(&AtomicBool, &AtomicU64) + Sync) -> Duration {
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
        assert_ends_well(server);
        is_over.store(true, Ordering::Relaxed);
        start.elapsed()
    })
}

/// Connects and resets without a pause. A reset leaves no port in use.
fn flood_connects(server: SocketAddr, is_over: &AtomicBool, count: &AtomicU64) {
    while !is_over.load(Ordering::Relaxed) {
        if let Ok(stream) = TcpStream::connect(server) {
            let socket = SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).expect("set");
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends requests without a pause.
fn flood_datagrams(server: SocketAddr, is_over: &AtomicBool, count: &AtomicU64) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        socket.send_to(b"day", server).expect("sent");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn t16_a_flood_of_connects_does_not_put_the_stop_off() {
    let _turn = turn();
    for workers in WORKERS {
        let server = start_patient(workers);
        let address = server.tcp[0];
        let time = time_stop_beside(server, |is_over, count| {
            flood_connects(address, is_over, count);
        });
        let what = format!("ended beside a flood of connects, on {workers} workers, within");
        record("T16", &what, seconds(time));
    }
}

#[test]
fn t16_a_flood_of_datagrams_does_not_put_the_stop_off() {
    let _turn = turn();
    for workers in WORKERS {
        let server = start_patient(workers);
        let address = server.udp[0];
        let time = time_stop_beside(server, |is_over, count| {
            flood_datagrams(address, is_over, count);
        });
        let what = format!("ended beside a flood of datagrams, on {workers} workers, within");
        record("T16", &what, seconds(time));
    }
}

#[test]
fn t16_datagrams_that_arrived_before_the_stop_are_answered() {
    for workers in WORKERS {
        let server = start_patient(workers);
        let clients: Vec<_> = (0..50).map(|_| server.datagrams()).collect();
        // A client that is answered here has seen all workers start.
        wait_for(&server, ANSWERED, 0);
        hold(&server);
        for client in &clients {
            client.send(b"day").expect("sent");
        }
        server.signal(Signal::SIGTERM);
        release(&server);
        for client in &clients {
            client.recv(&mut [0; 64]).expect("a reply");
        }
        assert_ends_well(server);
    }
}

#[test]
fn t16_a_client_that_never_closes_its_side_does_not_put_the_stop_off() {
    for workers in WORKERS {
        let server = start_patient(workers);
        let clients = welcomed_clients(&server, 50);
        server.signal(Signal::SIGTERM);
        assert_ends_well(server);
        let end = "the server has closed its side";
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).expect(end), 0);
        }
    }
}

#[test]
fn t16_a_listener_that_drains_serves_no_one_who_comes_later() {
    let server = start_patient("2");
    let mut early = welcomed_clients(&server, 1);
    // Replies that nobody reads keep the server from ending.
    crate::write_until_stopped(&mut early[0], &b"help\n".repeat(1_000_000));
    server.signal(Signal::SIGTERM);
    wait_until("the listener is closed", || {
        TcpStream::connect(server.tcp[0]).is_err()
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server.udp[0]).expect("connected");
    wait_until("the datagram socket is closed", || {
        socket.send(b"day").is_err()
    });
    // The connection is served on.
    assert!(read_line(&early[0]).ends_with('\n'));
}
