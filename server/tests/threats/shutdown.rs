//! T16 and T22: shutdown by signals, and panics.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chime_server::{Counter, ListenerConfig, Options, Sockets, Workers};
use chrono::{NaiveDateTime, Utc};
use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use crate::{
    TIMEOUT, connect_and_read_welcome, read_line, read_to_eof, record, round_trip, seconds, start,
    wait_until, write_until_blocked,
};

#[test]
fn t16_shutdown_leaves_no_reply_unsent() {
    const CLIENTS: usize = 50;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = start(&[]);
        let idle: Vec<_> = (0..CLIENTS)
            .map(|_| connect_and_read_welcome(&server))
            .collect();
        let mut busy: Vec<_> = (0..CLIENTS)
            .map(|_| connect_and_read_welcome(&server))
            .collect();
        for stream in &mut busy {
            stream
                .write_all("1\n".repeat(10_000).as_bytes())
                .expect("sent");
            stream.write_all(b"half a line").expect("sent");
        }
        let start = Instant::now();
        server.signal(signal);
        for stream in busy {
            assert!(
                read_to_eof(stream) == "1\n".repeat(10_000),
                "{signal}: a reply is lost"
            );
        }
        for stream in idle {
            assert_eq!(read_to_eof(stream), "");
        }
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        record(
            "T16",
            &format!(
                "replies lost and resets for {CLIENTS} busy and {CLIENTS} idle clients at {signal}"
            ),
            0,
        );
        record(
            "T16",
            &format!("exit after {signal}"),
            seconds(start.elapsed()),
        );
    }
}

#[test]
fn t16_a_second_signal_exits_at_once() {
    let mut server = start(&["--drain-timeout", "1h"]);
    let mut stream = server.connect();
    // Unread replies keep the drain from ending.
    write_until_blocked(&mut stream, &b"help\n".repeat(1_000_000));
    server.signal(Signal::SIGTERM);
    wait_until("the server stops accepting", || {
        TcpStream::connect(server.tcp[0]).is_err()
    });
    let second = Instant::now();
    assert_eq!(server.signal_until_exit(Signal::SIGTERM).code(), Some(1));
    record(
        "T16",
        "exit after a second signal",
        seconds(second.elapsed()),
    );
}

#[test]
fn t16_connections_with_unread_replies_are_cut_at_the_drain_timeout() {
    let server = start(&["--drain-timeout", "100ms"]);
    let mut stream = server.connect();
    write_until_blocked(&mut stream, &b"help\n".repeat(1_000_000));
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    let default = Duration::from_secs(10);
    assert!(start.elapsed() < default, "the flag has no effect");
    assert_eq!(status.code(), Some(0));
    assert!(
        log.contains("connections cut at the drain timeout: 1\n"),
        "{log}"
    );
    record(
        "T16",
        "exit after SIGTERM, drain timeout 100 ms",
        seconds(start.elapsed()),
    );
}

/// Starts a server in this process: a test cannot inject a panic into another process.
fn serve_in_process(
    options: &Options,
    stop: &CancellationToken,
) -> (SocketAddr, SocketAddr, Workers) {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets = Sockets::bind(&[(free, ListenerConfig::default())], &[free]).expect("free ports");
    let tcp = sockets.tcp_addresses().expect("bound")[0];
    let udp = sockets.udp_addresses().expect("bound")[0];
    let workers = NonZero::new(3).expect("not zero");
    let workers = sockets.start(workers, options, stop).expect("started");
    (tcp, udp, workers)
}

/// Whether the next read of the clock panics.
static CLOCK_PANICS: AtomicBool = AtomicBool::new(false);

fn panicking_clock() -> NaiveDateTime {
    assert!(
        !CLOCK_PANICS.swap(false, Ordering::SeqCst),
        "the panic that the test injects"
    );
    Utc::now().naive_utc()
}

#[test]
fn t22_a_panic_ends_one_connection_and_no_other() {
    let connections = NonZero::new(10).expect("not zero");
    let stop = CancellationToken::new();
    let (tcp, _, workers) = serve_in_process(&Options::new(panicking_clock, connections), &stop);
    let connect = |_| {
        let stream = TcpStream::connect(tcp).expect("a connection");
        stream.set_read_timeout(Some(TIMEOUT)).expect("set");
        assert_eq!(read_line(&stream), crate::WELCOME);
        stream
    };
    let mut others: Vec<_> = (0..9).map(connect).collect();
    let mut one = connect(0);
    CLOCK_PANICS.store(true, Ordering::SeqCst);
    one.write_all(b"day\n").expect("sent");
    // Fails with a reset if the line is unread.
    let mut text = String::new();
    let _ = one.read_to_string(&mut text);
    assert_eq!(text, "");
    for other in &mut others {
        round_trip(other);
    }
    // The permit is released.
    round_trip(&mut connect(0));
    stop.cancel();
    drop(others);
    let snapshot = workers.join().expect("no worker panicked");
    assert_eq!(snapshot[Counter::ConversationPanicked], 1);
    record("T22", "other connections served after a panic, of 9", 9);
}

#[test]
fn t22_a_worker_panic_ends_the_server() {
    let clock = || panic!("the panic that the test injects");
    let options = Options::new(clock, NonZero::<u32>::MIN);
    // The kernel chooses the worker that receives the datagram.
    for _ in 0..10 {
        let (_, udp, workers) = serve_in_process(&options, &CancellationToken::new());
        let server = thread::spawn(move || workers.join());
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        client.send_to(b"day", udp).expect("sent");
        wait_until("the server ends", || server.is_finished());
        let result = server
            .join()
            .expect("the thread that joins the workers does not panic");
        assert!(result.is_err(), "the panic is not reported");
    }
    record(
        "T22",
        "servers that exited after a worker panicked, of 10",
        10,
    );
}
