//! T27: a server that is stopped (SIGSTOP) beyond its deadlines and continued.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{WORKERS, hold, release, welcomed_clients};
use crate::process::waiting::wait_within;
use crate::process::{PATIENCE, Server, command, read_line, rest_of, wait_until};
use crate::slow_readers::{narrow, replies_to_help};
use crate::{ADMIN, SLOW_LINE, WELCOME, metric, record, start};

const CLIENTS: usize = 10;

const RECEIVED: &str = "chime_received_bytes_total";
const SENT: &str = "chime_sent_bytes_total";
const REJECTED: &str = "chime_connections_refused_total{reason=\"header\"}";

/// How long a PROXY header may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// Half of a header, and the rest of it.
const HEADER: [&str; 2] = ["PROXY TCP4 127.0.0.1 127.", "0.0.1 5000 9990\r\n"];

/// Holds the server beyond a deadline. The process can't use the time, so its length decides nothing.
fn hold_beyond(server: &Server, deadline: Duration, during: impl FnOnce()) {
    hold(server);
    during();
    thread::sleep(deadline + Duration::from_millis(500));
    release(server);
}

fn write_to_all(clients: &mut [TcpStream], text: &str) {
    for client in clients {
        client.write_all(text.as_bytes()).expect("sent");
    }
}

/// Asserts that each client gets these replies, then the reply to one more request.
fn assert_replies(clients: Vec<TcpStream>, replies: &str) {
    for mut client in clients {
        client.write_all(b"12345\n").expect("sent");
        client.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(rest_of(client), format!("{replies}15\n"));
    }
}

fn survives_idle_deadline(workers: &str) {
    let server = start(&["--workers", workers, "--idle-timeout", "2s"]);
    let mut clients = welcomed_clients(&server, CLIENTS);
    hold_beyond(&server, Duration::from_secs(2), || {
        write_to_all(&mut clients, "1\n");
    });
    assert_replies(clients, "1\n");
}

/// Starts a server with clients that have begun a line of two bytes, which the server has read.
fn start_with_half_lines(workers: &str) -> (Server, Vec<TcpStream>) {
    let server = start(&["--workers", workers, "--line-timeout", "2s"]);
    let mut clients = welcomed_clients(&server, CLIENTS);
    write_to_all(&mut clients, "12");
    wait_until("the half lines are read", || {
        metric(&server, RECEIVED) == 2 * CLIENTS as u64
    });
    (server, clients)
}

fn survives_line_deadline(workers: &str) {
    let (server, mut clients) = start_with_half_lines(workers);
    // Two seconds, and two milliseconds for each byte.
    hold_beyond(&server, Duration::from_millis(2010), || {
        write_to_all(&mut clients, "3\n");
    });
    assert_replies(clients, "6\n");
}

/// Starts a server behind a proxy, with clients that have sent half of a header.
fn start_with_half_headers(workers: &str, name: &str) -> (Server, Vec<TcpStream>) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threats");
    fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join(format!("{name}-{workers}.toml"));
    let table = "[[listener]]\naddress = \"127.0.0.1:0\"\ntransport = \"tcp\"\n\
                 proxies = [\"::ffff:127.0.0.0/104\"]\n";
    fs::write(&config, table).expect("written");
    let config = config.to_str().expect("a path in UTF-8");
    let flags = [&["--config", config, "--workers", workers], &ADMIN[..]].concat();
    let server = Server::spawn(&mut command(&flags), 2);
    let folder = format!("/proc/{}/fd", server.child.id());
    let descriptors = || fs::read_dir(&folder).expect("a process").count();
    // Who gets this has seen all workers start.
    metric(&server, REJECTED);
    let mut before = usize::MAX;
    wait_until("the probe is closed", || {
        let now = descriptors();
        let is_same = now == before;
        before = now;
        is_same
    });
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    write_to_all(&mut clients, HEADER[0]);
    wait_until("they are accepted", || descriptors() >= before + CLIENTS);
    (server, clients)
}

fn survives_header_deadline(workers: &str) {
    let (server, mut clients) = start_with_half_headers(workers, "survives");
    hold_beyond(&server, HEADER_TIMEOUT, || {
        write_to_all(&mut clients, HEADER[1]);
    });
    assert_replies(clients, WELCOME);
    assert_eq!(metric(&server, REJECTED), 0);
}

/// Reads what there is, for as long as something comes.
fn read_available(client: &mut TcpStream, text: &mut Vec<u8>) {
    let mut block = [0; 65_536];
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("set");
    loop {
        match client.read(&mut block) {
            Ok(length @ 1..) => text.extend(&block[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => panic!("{other:?}"),
        }
    }
    client.set_read_timeout(Some(PATIENCE)).expect("set");
}

fn survives_write_deadline(workers: &str) {
    const REQUESTS: usize = 5000;
    let server = start(&["--workers", workers, "--write-timeout", "1s"]);
    let replies = replies_to_help(&server, REQUESTS);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| narrow(server.tcp[0])).collect();
    let before = metric(&server, SENT);
    write_to_all(&mut clients, &"help\n".repeat(REQUESTS));
    let mut sent = before;
    let mut unchanged = 0;
    wait_until("the server can send no more", || {
        let now = metric(&server, SENT);
        unchanged = if now == sent { unchanged + 1 } else { 0 };
        sent = now;
        unchanged >= 20 && sent > before
    });
    let sent = (sent - before) / CLIENTS as u64;
    assert!(sent < replies.len() as u64, "nothing is unsent");
    // A second, and half a millisecond for each byte, with a margin for clients that got more.
    let deadline = Duration::from_secs(1) + Duration::from_micros(sent * 600);
    let mut texts = vec![Vec::new(); CLIENTS];
    hold_beyond(&server, deadline, || {
        for (client, text) in clients.iter_mut().zip(&mut texts) {
            read_available(client, text);
        }
    });
    for (mut client, mut text) in clients.into_iter().zip(texts) {
        client.shutdown(Shutdown::Write).expect("half-closed");
        client.read_to_end(&mut text).expect("an end, not a reset");
        assert!(text == replies.as_bytes(), "a reply is lost");
    }
    assert_eq!(metric(&server, crate::SLOW_READER), 0);
}

#[test]
fn t27_input_that_arrived_in_time_is_answered_after_a_stop_beyond_the_deadline() {
    let cases: [fn(&str); 4] = [
        survives_idle_deadline,
        survives_line_deadline,
        survives_header_deadline,
        survives_write_deadline,
    ];
    thread::scope(|scope| {
        for workers in WORKERS {
            for case in cases {
                scope.spawn(move || case(workers));
            }
        }
    });
    for deadline in ["idle", "line", "header", "write"] {
        let what = format!("answered when stopped beyond the {deadline} deadline");
        record("T27", &what, format!("{CLIENTS} of {CLIENTS}"));
    }
}

/// Drips bytes from a continued server's clients until this many are closed.
fn drip_until_closed(server: &Server, clients: &mut [TcpStream], name: &str) -> Duration {
    let start = Instant::now();
    wait_within(PATIENCE, "all that drip are closed", || {
        for client in &mut *clients {
            // One that is closed takes no more.
            let _ = client.write(b"1");
        }
        // A drip of 50 bytes a second earns a line a tenth more time.
        thread::sleep(Duration::from_millis(20));
        metric(server, name) == CLIENTS as u64
    });
    start.elapsed()
}

#[test]
fn t27_a_drip_after_the_deadline_does_not_put_it_off() {
    thread::scope(|scope| {
        for workers in WORKERS {
            scope.spawn(move || {
                let (server, mut clients) = start_with_half_lines(workers);
                let deadline = Duration::from_millis(2010);
                hold_beyond(&server, deadline, || write_to_all(&mut clients, "3"));
                drip_until_closed(&server, &mut clients, SLOW_LINE);
            });
            scope.spawn(move || {
                let (server, mut clients) = start_with_half_headers(workers, "drip");
                hold_beyond(&server, HEADER_TIMEOUT, || write_to_all(&mut clients, "0"));
                drip_until_closed(&server, &mut clients, REJECTED);
            });
        }
    });
}

#[test]
fn t27_clients_of_a_continued_server_that_sent_nothing_are_closed() {
    for workers in WORKERS {
        let server = start(&["--workers", workers, "--idle-timeout", "1s"]);
        let clients = welcomed_clients(&server, CLIENTS);
        hold_beyond(&server, Duration::from_secs(1), || {});
        for client in clients {
            assert_eq!(rest_of(client), "");
        }
        // The deadlines of new clients begin anew.
        assert_eq!(read_line(&server.connect()), WELCOME);
    }
}
