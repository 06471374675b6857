//! T7, T10, T11 and T17: what a client can do to the server by how it sends and reads.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chime_protocol::Reply;

use crate::load::{CLIENTS, WORKERS, for_each_load, turn};
use crate::process::waiting::wait_within;
use crate::{
    COMMAND_ERROR, PATIENCE, SLOW_LINE, Server, WELCOME, ask, metric, milliseconds, peak_memory_kb,
    record, seconds, start, wait_until, welcomed,
};

#[test]
fn t07_clients_that_drip_are_closed_and_others_are_served() {
    for_each_load(&CLIENTS, |clients, workers| {
        let server = start(&["--line-timeout", "1s", "--workers", workers]);
        let drip = || {
            let start = Instant::now();
            let mut dripping: Vec<_> = (0..clients).map(|_| server.connect()).collect();
            // Beside thousands of others, connecting takes its time, too.
            wait_within(3 * PATIENCE, "all that drip are closed", || {
                for client in &mut dripping {
                    // One that is closed takes no more.
                    let _ = client.write(b"1");
                }
                thread::sleep(Duration::from_millis(50));
                metric(&server, SLOW_LINE) == clients as u64
            });
            start.elapsed()
        };
        let mut times = Vec::new();
        let closed_after = thread::scope(|scope| {
            let dripping = scope.spawn(drip);
            let mut normal = welcomed(&server);
            while !dripping.is_finished() {
                times.push(ask(&mut normal));
            }
            dripping.join().expect("all are closed")
        });
        let who = format!("{clients} clients that drip, on {workers} workers");
        let what = format!("{who}: closed, at a line timeout of 1 s, after");
        record("T07", &what, seconds(closed_after));
        let slowest = times.iter().max().expect("there are replies");
        let what = format!("{who}: slowest of the replies to another meanwhile");
        record("T07", &what, milliseconds(*slowest));
    });
}

#[test]
fn t10_lines_of_256_mebibytes_take_no_memory() {
    let server = start(&[]);
    let before = peak_memory_kb(&server);
    let sum = 9 * (256_u64 << 20);
    for (byte, reply) in [
        (b'9', format!("{sum}\n")),
        (b'x', COMMAND_ERROR.to_string()),
    ] {
        let mut stream = welcomed(&server);
        let block = vec![byte; 1 << 20];
        for _ in 0..256 {
            stream.write_all(&block).expect("sent");
        }
        stream.write_all(b"\nquit\n").expect("sent");
        assert_eq!(
            crate::rest_of(stream),
            format!("{reply}Thank You .. See You soon !! \n")
        );
    }
    let grown = peak_memory_kb(&server) - before;
    record(
        "T10",
        "memory for a sum and an error over 256 MiB each",
        format!("{grown} kB"),
    );
    assert!(grown <= 1024, "the server grew by {grown} kB");
}

#[test]
fn t11_floods_of_requests_starve_no_one() {
    let _turn = turn();
    WORKERS.into_iter().for_each(ask_beside_floods);
}

fn ask_beside_floods(workers: &str) {
    const FLOODS: u64 = 4;
    const ASKED: u64 = 200;
    let server = start(&["--workers", workers]);
    let polite = || {
        let mut stream = welcomed(&server);
        let mut times: Vec<_> = (0..ASKED).map(|_| ask(&mut stream)).collect();
        times.sort();
        times[times.len() * 99 / 100]
    };
    let alone = polite();
    let answered = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let (beside, answered) = thread::scope(|scope| {
        for _ in 0..FLOODS {
            scope.spawn(|| flood(&server, &answered, &is_over));
        }
        wait_until("the floods have begun", || {
            answered.load(Ordering::Relaxed) >= FLOODS * BLOCK
        });
        let before = answered.load(Ordering::Relaxed);
        let polite = scope.spawn(polite);
        while !polite.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        let answered = answered.load(Ordering::Relaxed) - before;
        is_over.store(true, Ordering::Relaxed);
        (polite.join().expect("all is answered"), answered)
    });
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    let beside = format!("{} ({ratio:.0} times)", milliseconds(beside));
    let turn = answered / ASKED;
    let who = format!("of a polite client, on {workers} workers");
    record("T11", &format!("p99 {who}, alone"), milliseconds(alone));
    record("T11", &format!("p99 {who}, beside 4 floods"), beside);
    let what = format!("requests of floods answered for each {who}");
    record("T11", &what, turn);
    // Sixteen blocks of each flood: what is counted does not depend on how fast the machine is.
    assert!(turn <= 16 * FLOODS * BLOCK, "{turn} came first");
}

/// Requests that fit into what a server reads at once.
const BLOCK: u64 = 8192;

/// Sends requests without a pause, and counts the replies, until it is over.
fn flood(server: &Server, answered: &AtomicU64, is_over: &AtomicBool) {
    let requests = b"1\n".repeat(BLOCK as usize);
    let mut replies = vec![0; requests.len()];
    let mut stream = welcomed(server);
    stream.write_all(&requests).expect("sent");
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&requests).expect("sent");
        stream.read_exact(&mut replies).expect("replies");
        answered.fetch_add(BLOCK, Ordering::Relaxed);
    }
}

#[test]
fn t17_requests_of_other_protocols_get_errors_and_nothing_of_their_own_back() {
    let server = start(&[]);
    let post = "POST /admin?xyzzy HTTP/1.1\r\nHost: 127.0.0.1:9990\r\nOrigin: https://xyzzy.example\r\n\
                Content-Type: text/plain\r\nContent-Length: 44\r\n\r\n<script>xyzzy()</script>\r\nday of xyzzy\r\nxyzzy\r\n";
    let hello = "\x16\x03\x01\x02\0\x01\0\x01xyzzy\n";
    let lookup =
        "EHLO xyzzy\r\nMAIL FROM:<xyzzy@example.org>\r\n\"; DROP TABLE xyzzy\r\n${jndi:xyzzy}\r\n";
    for request in [post, hello, lookup] {
        let lines = request.lines().count();
        let expected = format!("{WELCOME}{}", COMMAND_ERROR.repeat(lines));
        assert_eq!(server.converse(request), expected);
    }
    record(
        "T17",
        "errors for the lines of a browser's POST",
        format!("{0} of {0}", post.lines().count()),
    );
}

#[test]
fn t17_all_that_is_sent_is_a_reply() {
    let server = start(&[]);
    let mut sent = Vec::new();
    let mut number = 0x9e37_79b9_u32;
    for _ in 0..1 << 20 {
        // Numbers that look random: a xorshift generator.
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        // Many line ends and digits, so that there are many lines of each kind.
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
            reader.read_to_end(&mut text).expect("an end");
            text
        });
        stream.write_all(&sent).expect("sent");
        reading.join().expect("all is read")
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
        "lines sent for a MiB of random bytes, all of them replies",
        count,
    );
}
