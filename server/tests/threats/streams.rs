//! T7, T10, T11 and T17: slow writers, endless lines, request floods, and other protocols.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chime_protocol::Reply;

use crate::load::{CLIENTS, WORKERS, for_each_load, lock_load_tests};
use crate::process::waiting::wait_within;
use crate::{
    COMMAND_ERROR, SLOW_LINE, ServerProcess, TIMEOUT, WELCOME, connect_and_read_welcome,
    memory_growth_kb, metric, milliseconds, peak_memory_kb, record, round_trip, seconds, start,
    wait_until,
};

#[test]
fn t07_slow_writers_are_closed_and_others_are_served() {
    for_each_load(&CLIENTS, |clients, workers| {
        let server = start(&["--line-timeout", "1s", "--workers", workers]);
        let write_slowly = || {
            let start = Instant::now();
            let mut slow_writers: Vec<_> = (0..clients).map(|_| server.connect()).collect();
            // Connecting thousands of clients takes a while, too.
            wait_within(3 * TIMEOUT, "all slow writers are closed", || {
                for client in &mut slow_writers {
                    // Fails once the connection is closed.
                    let _ = client.write(b"1");
                }
                thread::sleep(Duration::from_millis(50));
                metric(&server, SLOW_LINE) == clients as u64
            });
            start.elapsed()
        };
        let mut times = Vec::new();
        let closed_after = thread::scope(|scope| {
            let slow_writers = scope.spawn(write_slowly);
            let mut other = connect_and_read_welcome(&server);
            while !slow_writers.is_finished() {
                times.push(round_trip(&mut other));
            }
            slow_writers.join().expect("no panic")
        });
        let load = format!("{clients} slow writers, --workers {workers}");
        let label = format!("{load}, line timeout 1 s: all closed after");
        record("T07", &label, seconds(closed_after));
        let slowest = times.iter().max().expect("at least one reply");
        let label = format!("{load}: slowest reply to another client");
        record("T07", &label, milliseconds(*slowest));
    });
}

#[test]
fn t10_memory_is_bounded_for_lines_of_256_mib() {
    let server = start(&[]);
    let before = peak_memory_kb(&server);
    let sum = 9 * (256_u64 << 20);
    for (byte, reply) in [
        (b'9', format!("{sum}\n")),
        (b'x', COMMAND_ERROR.to_string()),
    ] {
        let mut stream = connect_and_read_welcome(&server);
        let block = vec![byte; 1 << 20];
        for _ in 0..256 {
            stream.write_all(&block).expect("sent");
        }
        stream.write_all(b"\nquit\n").expect("sent");
        assert_eq!(
            crate::read_to_eof(stream),
            format!("{reply}Thank You .. See You soon !! \n")
        );
    }
    let grown = memory_growth_kb(&server, before);
    record(
        "T10",
        "memory growth for a line of digits and an invalid line, 256 MiB each",
        format!("{grown} kB"),
    );
    assert!(grown <= 1024, "the server grew by {grown} kB");
}

#[test]
fn t11_request_floods_starve_no_client() {
    let _lock = lock_load_tests();
    WORKERS.into_iter().for_each(measure_during_floods);
}

fn measure_during_floods(workers: &str) {
    const FLOODS: u64 = 4;
    const REQUESTS: u64 = 200;
    let server = start(&["--workers", workers]);
    let p99 = || {
        let mut stream = connect_and_read_welcome(&server);
        let mut times: Vec<_> = (0..REQUESTS).map(|_| round_trip(&mut stream)).collect();
        times.sort();
        times[times.len() * 99 / 100]
    };
    let p99_alone = p99();
    let answered = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let (p99_during, answered) = thread::scope(|scope| {
        for _ in 0..FLOODS {
            scope.spawn(|| flood(&server, &answered, &is_over));
        }
        wait_until("the floods have begun", || {
            answered.load(Ordering::Relaxed) >= FLOODS * BLOCK
        });
        let before = answered.load(Ordering::Relaxed);
        let p99 = scope.spawn(p99);
        while !p99.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        let answered = answered.load(Ordering::Relaxed) - before;
        is_over.store(true, Ordering::Relaxed);
        (p99.join().expect("no panic"), answered)
    });
    let ratio = p99_during.as_secs_f64() / p99_alone.as_secs_f64();
    let p99_during = format!("{} ({ratio:.0} times)", milliseconds(p99_during));
    let per_request = answered / REQUESTS;
    let client = format!("one client, --workers {workers}");
    let label = format!("{client}: p99 latency alone");
    record("T11", &label, milliseconds(p99_alone));
    let label = format!("{client}: p99 latency during 4 floods");
    record("T11", &label, p99_during);
    let label = format!("{client}: flood requests answered per request of the client");
    record("T11", &label, per_request);
    // Sixteen blocks of each flood. Unlike a time, this count does not depend on the speed of the machine.
    let max = 16 * FLOODS * BLOCK;
    assert!(per_request <= max, "{per_request} flood requests");
}

/// Requests per write of a flood. Together they fit into the server's input buffer.
const BLOCK: u64 = 8192;

/// Sends requests without a pause and counts the replies, until `is_over`.
fn flood(server: &ServerProcess, answered: &AtomicU64, is_over: &AtomicBool) {
    let requests = b"1\n".repeat(BLOCK as usize);
    let mut replies = vec![0; requests.len()];
    let mut stream = connect_and_read_welcome(server);
    stream.write_all(&requests).expect("sent");
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&requests).expect("sent");
        stream.read_exact(&mut replies).expect("replies");
        answered.fetch_add(BLOCK, Ordering::Relaxed);
    }
}

#[test]
fn t17_requests_of_other_protocols_are_not_reflected() {
    let server = start(&[]);
    let post = "POST /admin?xyzzy HTTP/1.1\r\nHost: 127.0.0.1:9990\r\nOrigin: https://xyzzy.example\r\n\
                Content-Type: text/plain\r\nContent-Length: 44\r\n\r\n<script>xyzzy()</script>\r\nday of xyzzy\r\nxyzzy\r\n";
    let hello = "\x16\x03\x01\x02\0\x01\0\x01xyzzy\n";
    let lookup =
        "EHLO xyzzy\r\nMAIL FROM:<xyzzy@example.org>\r\n\"; DROP TABLE xyzzy\r\n${jndi:xyzzy}\r\n";
    for request in [post, hello, lookup] {
        let lines = request.lines().count();
        let expected = format!("{WELCOME}{}", COMMAND_ERROR.repeat(lines));
        assert_eq!(server.replies_to(request), expected);
    }
    record(
        "T17",
        "errors for the lines of an HTTP POST",
        format!("{0} of {0}", post.lines().count()),
    );
}

#[test]
fn t17_every_line_sent_is_a_known_reply() {
    let server = start(&[]);
    let mut sent = Vec::new();
    let mut number = 0x9e37_79b9_u32;
    for _ in 0..1 << 20 {
        // Pseudorandom numbers from a xorshift generator.
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        // Line ends and digits are frequent, for many lines of each kind.
        sent.push(match number % 16 {
            0..4 => b'\n',
            4..8 => b'0' + (number >> 8) as u8 % 10,
            8 => b'\r',
            _ => (number >> 8) as u8,
        });
    }
    sent.extend(b"\nday\nDATE\ntime\nsend time\nhelp\nquit\n");
    let mut stream = server.connect();
    let mut reader = stream.try_clone().expect("cloned");
    let text = thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).expect("EOF");
            text
        });
        stream.write_all(&sent).expect("sent");
        reading.join().expect("no panic")
    });
    let lines = text
        .strip_suffix(b"\n")
        .expect("a line end")
        .split(|byte| *byte == b'\n');
    let mut count = 0;
    for line in lines {
        assert!(Reply::parse(line).is_some(), "{}", line.escape_ascii());
        count += 1;
    }
    record(
        "T17",
        "lines received for 1 MiB of random bytes, all of them known replies",
        count,
    );
}
