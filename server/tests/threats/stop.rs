//! T16 and T22: how a server ends, and what does not end it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use chime_server::{Counter, ListenerConfig, Options, Sockets, Workers};
use chrono::{NaiveDateTime, Utc};
use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use crate::{
    PATIENCE, ask, read_line, record, rest_of, seconds, start, wait_until, welcomed,
    write_until_stopped,
};

#[test]
fn t16_a_signal_to_stop_leaves_no_answer_unsent() {
    const CLIENTS: usize = 50;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = start(&[]);
        let idle: Vec<_> = (0..CLIENTS).map(|_| welcomed(&server)).collect();
        let mut busy: Vec<_> = (0..CLIENTS).map(|_| welcomed(&server)).collect();
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
                rest_of(stream) == "1\n".repeat(10_000),
                "{signal}: an answer is lost"
            );
        }
        for stream in idle {
            assert_eq!(rest_of(stream), "");
        }
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        record(
            "T16",
            &format!(
                "answers lost and resets for {CLIENTS} busy and {CLIENTS} idle clients at {signal}"
            ),
            0,
        );
        record(
            "T16",
            &format!("ended after {signal} within"),
            seconds(start.elapsed()),
        );
    }
}

#[test]
fn t16_a_second_signal_ends_it_at_once() {
    let mut server = start(&["--drain-timeout", "1h"]);
    let mut stream = server.connect();
    // Replies that nobody takes keep the server from stopping.
    write_until_stopped(&mut stream, &b"help\n".repeat(1_000_000));
    server.signal(Signal::SIGTERM);
    wait_until("the server stops accepting", || {
        TcpStream::connect(server.tcp[0]).is_err()
    });
    let second = Instant::now();
    assert_eq!(server.force(Signal::SIGTERM).code(), Some(1));
    record(
        "T16",
        "ended after a second signal within",
        seconds(second.elapsed()),
    );
}

#[test]
fn t16_connections_that_do_not_end_are_cut_at_the_drain_timeout() {
    let server = start(&["--drain-timeout", "100ms"]);
    let mut stream = server.connect();
    write_until_stopped(&mut stream, &b"help\n".repeat(1_000_000));
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("1 connections cut"), "{log}");
    record(
        "T16",
        "ended, at a drain timeout of 100 ms, within",
        seconds(start.elapsed()),
    );
}

/// Starts a server in this process: a test can't make a process of its own panic.
fn serve_here(options: &Options, stop: &CancellationToken) -> (SocketAddr, SocketAddr, Workers) {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets = Sockets::bind(&[(free, ListenerConfig::default())], &[free]).expect("free ports");
    let tcp = sockets.tcp_addresses().expect("it is bound")[0];
    let udp = sockets.udp_addresses().expect("it is bound")[0];
    let workers = NonZero::new(3).expect("not zero");
    let workers = sockets.start(workers, options, stop).expect("they start");
    (tcp, udp, workers)
}

/// Whether the clock panics when it is read next.
static IS_CLOCK_BROKEN: AtomicBool = AtomicBool::new(false);

fn fragile_clock() -> NaiveDateTime {
    let is_broken = IS_CLOCK_BROKEN.swap(false, Ordering::SeqCst);
    assert!(!is_broken, "the clock is broken, as the test wants it");
    Utc::now().naive_utc()
}

#[test]
fn t22_a_panic_ends_one_connection_and_no_other() {
    let connections = NonZero::new(10).expect("not zero");
    let stop = CancellationToken::new();
    let (tcp, _, workers) = serve_here(&Options::new(fragile_clock, connections), &stop);
    let connect = |_| {
        let stream = TcpStream::connect(tcp).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        assert_eq!(read_line(&stream), crate::WELCOME);
        stream
    };
    let mut others: Vec<_> = (0..9).map(connect).collect();
    let mut one = connect(0);
    IS_CLOCK_BROKEN.store(true, Ordering::SeqCst);
    one.write_all(b"day\n").expect("sent");
    // With the line unread it is a reset.
    let mut text = String::new();
    let _ = one.read_to_string(&mut text);
    assert_eq!(text, "");
    for other in &mut others {
        ask(other);
    }
    // Its room is free again.
    ask(&mut connect(0));
    stop.cancel();
    drop(others);
    let snapshot = workers.join().expect("they end well");
    assert_eq!(snapshot[Counter::ConversationPanicked], 1);
    record("T22", "others served, of 9, when one panicked", 9);
}

#[test]
fn t22_a_worker_that_panics_ends_the_server() {
    let clock = || panic!("there is no clock, as the test wants it");
    let options = Options::new(clock, NonZero::<u32>::MIN);
    // Any of the workers may be the one.
    for _ in 0..10 {
        let (_, udp, workers) = serve_here(&options, &CancellationToken::new());
        let server = thread::spawn(move || workers.join());
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        client.send_to(b"day", udp).expect("sent");
        wait_until("the server ends", || server.is_finished());
        let ended = server
            .join()
            .expect("the thread that joins them does not panic");
        assert!(ended.is_err(), "the panic is reported");
    }
    record(
        "T22",
        "servers ended, of 10, of which a worker panicked",
        10,
    );
}
