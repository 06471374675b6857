//! T27: a server that is suspended (SIGSTOP) beyond its deadlines and resumed (SIGCONT).

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::load::{WORKERS, connect_all, resume, suspend};
use crate::process::{ServerProcess, TIMEOUT, command, read_line, read_to_eof, wait_until};
use crate::slow_readers::{connect_with_small_buffer, replies_to_help};
use crate::{ADMIN, SLOW_LINE, WELCOME, metric, record, start};

const CLIENTS: usize = 10;

const RECEIVED: &str = "chime_received_bytes_total";
const SENT: &str = "chime_sent_bytes_total";
const REJECTED: &str = "chime_connections_refused_total{reason=\"header\"}";

/// The server's timeout for a PROXY header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// A PROXY header in two halves.
const HEADER: [&str; 2] = ["PROXY TCP4 127.0.0.1 127.", "0.0.1 5000 9990\r\n"];

/// Suspends the server until after a deadline, and calls `during` meanwhile. The process cannot run, so
/// the exact time does not matter.
fn suspend_beyond(server: &ServerProcess, deadline: Duration, during: impl FnOnce()) {
    suspend(server);
    during();
    thread::sleep(deadline + Duration::from_millis(500));
    resume(server);
}

fn write_to_all(clients: &mut [TcpStream], text: &str) {
    for client in clients {
        client.write_all(text.as_bytes()).expect("sent");
    }
}

/// Asserts that each client receives these replies, then the reply to one more request.
fn assert_replies(clients: Vec<TcpStream>, replies: &str) {
    for mut client in clients {
        client.write_all(b"12345\n").expect("sent");
        client.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(read_to_eof(client), format!("{replies}15\n"));
    }
}

fn answers_after_idle_deadline(workers: &str) {
    let server = start(&["--workers", workers, "--idle-timeout", "2s"]);
    let mut clients = connect_all(&server, CLIENTS);
    suspend_beyond(&server, Duration::from_secs(2), || {
        write_to_all(&mut clients, "1\n");
    });
    assert_replies(clients, "1\n");
}

/// Starts a server with clients that have sent two bytes of a line, which the server has read.
fn start_with_half_lines(workers: &str) -> (ServerProcess, Vec<TcpStream>) {
    let server = start(&["--workers", workers, "--line-timeout", "2s"]);
    let mut clients = connect_all(&server, CLIENTS);
    write_to_all(&mut clients, "12");
    wait_until("the half lines are read", || {
        metric(&server, RECEIVED) == 2 * CLIENTS as u64
    });
    (server, clients)
}

fn answers_after_line_deadline(workers: &str) {
    let (server, mut clients) = start_with_half_lines(workers);
    // The line timeout of two seconds, plus two milliseconds per byte.
    suspend_beyond(&server, Duration::from_millis(2010), || {
        write_to_all(&mut clients, "3\n");
    });
    assert_replies(clients, "6\n");
}

/// Starts a server behind a proxy, with clients that have sent half of a header.
fn start_with_half_headers(workers: &str, name: &str) -> (ServerProcess, Vec<TcpStream>) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threats");
    fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join(format!("{name}-{workers}.toml"));
    let table = "[[listener]]\naddress = \"127.0.0.1:0\"\ntransport = \"tcp\"\n\
                 proxies = [\"::ffff:127.0.0.0/104\"]\n";
    fs::write(&config, table).expect("written");
    let config = config.to_str().expect("a path in UTF-8");
    let flags = [&["--config", config, "--workers", workers], &ADMIN[..]].concat();
    let server = ServerProcess::spawn(&mut command(&flags), 2);
    let folder = format!("/proc/{}/fd", server.child.id());
    let descriptors = || fs::read_dir(&folder).expect("a process").count();
    // A reply from the admin endpoint shows that all workers have started.
    metric(&server, REJECTED);
    let mut before = usize::MAX;
    wait_until("the admin connection is closed", || {
        let now = descriptors();
        now == std::mem::replace(&mut before, now)
    });
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    write_to_all(&mut clients, HEADER[0]);
    wait_until("the clients are accepted", || {
        descriptors() >= before + CLIENTS
    });
    (server, clients)
}

fn answers_after_header_deadline(workers: &str) {
    let (server, mut clients) = start_with_half_headers(workers, "resumed");
    suspend_beyond(&server, HEADER_TIMEOUT, || {
        write_to_all(&mut clients, HEADER[1]);
    });
    assert_replies(clients, WELCOME);
    assert_eq!(metric(&server, REJECTED), 0);
}

/// Reads until nothing has arrived for 100 ms.
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
    client.set_read_timeout(Some(TIMEOUT)).expect("set");
}

fn answers_after_write_deadline(workers: &str) {
    const REQUESTS: usize = 5000;
    let server = start(&["--workers", workers, "--write-timeout", "1s"]);
    let replies = replies_to_help(&server, REQUESTS);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| connect_with_small_buffer(server.tcp[0]))
        .collect();
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
    // The write timeout of one second, plus half a millisecond per byte, with a margin for clients that have
    // been sent more than the average.
    let deadline = Duration::from_secs(1) + Duration::from_micros(sent * 600);
    let mut texts = vec![Vec::new(); CLIENTS];
    suspend_beyond(&server, deadline, || {
        for (client, text) in clients.iter_mut().zip(&mut texts) {
            read_available(client, text);
        }
    });
    for (mut client, mut text) in clients.into_iter().zip(texts) {
        client.shutdown(Shutdown::Write).expect("half-closed");
        client.read_to_end(&mut text).expect("EOF, not a reset");
        assert!(text == replies.as_bytes(), "a reply is lost");
    }
    assert_eq!(metric(&server, crate::SLOW_READER), 0);
}

#[test]
fn t27_input_received_in_time_is_answered_after_sigstop_beyond_a_deadline() {
    let cases: [fn(&str); 4] = [
        answers_after_idle_deadline,
        answers_after_line_deadline,
        answers_after_header_deadline,
        answers_after_write_deadline,
    ];
    thread::scope(|scope| {
        for workers in WORKERS {
            for case in cases {
                scope.spawn(move || case(workers));
            }
        }
    });
    for deadline in ["idle", "line", "header", "write"] {
        let label = format!("answered after SIGSTOP beyond the {deadline} deadline");
        record("T27", &label, format!("{CLIENTS} of {CLIENTS}"));
    }
}

/// Writes a byte at a time from each client, until `name` counts all of them as closed.
fn write_slowly_until_closed(server: &ServerProcess, clients: &mut [TcpStream], name: &str) {
    wait_until("all slow writers are closed", || {
        for client in &mut *clients {
            // Fails once the connection is closed.
            let _ = client.write(b"1");
        }
        // 50 bytes a second extend the line deadline by a tenth.
        thread::sleep(Duration::from_millis(20));
        metric(server, name) == CLIENTS as u64
    });
}

#[test]
fn t27_bytes_after_a_deadline_do_not_extend_it() {
    thread::scope(|scope| {
        for workers in WORKERS {
            scope.spawn(move || {
                let (server, mut clients) = start_with_half_lines(workers);
                let deadline = Duration::from_millis(2010);
                suspend_beyond(&server, deadline, || write_to_all(&mut clients, "3"));
                write_slowly_until_closed(&server, &mut clients, SLOW_LINE);
            });
            scope.spawn(move || {
                let (server, mut clients) = start_with_half_headers(workers, "slow");
                suspend_beyond(&server, HEADER_TIMEOUT, || write_to_all(&mut clients, "0"));
                write_slowly_until_closed(&server, &mut clients, REJECTED);
            });
        }
    });
}

#[test]
fn t27_silent_clients_are_closed_after_sigcont() {
    for workers in WORKERS {
        let server = start(&["--workers", workers, "--idle-timeout", "1s"]);
        let clients = connect_all(&server, CLIENTS);
        suspend_beyond(&server, Duration::from_secs(1), || {});
        for client in clients {
            assert_eq!(read_to_eof(client), "");
        }
        // New connections have new deadlines.
        assert_eq!(read_line(&server.connect()), WELCOME);
    }
}
