//! Deadlines cover whole replies: slow bytes do not extend them, and nothing restarts them.

use std::time::Duration;

use chime_client::{Connection, Error, Pipe};
use chime_protocol::Reply;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{self, Instant};

use crate::TIMEOUT;

const WELCOME: &str = "Welcome to the server\n";
/// Less than the timeout: a deadline per byte would never pass.
const PAUSE: Duration = TIMEOUT.checked_div(2).expect("a divisor other than zero");

/// Writes `text` one byte at a time, until the client closes.
async fn write_slowly(far: &mut DuplexStream, text: &str) {
    for byte in text.bytes() {
        time::sleep(PAUSE).await;
        if far.write_u8(byte).await.is_err() {
            return;
        }
    }
}

/// Returns a connection after its welcome, and the stream of the server.
async fn connect() -> (Connection<DuplexStream>, DuplexStream) {
    let (near, mut far) = duplex(64);
    far.write_all(WELCOME.as_bytes())
        .await
        .expect("buffer space");
    let connection = Connection::greet(near, TIMEOUT).await;
    (connection.expect("the welcome"), far)
}

async fn read_line(far: &mut DuplexStream) {
    while far.read_u8().await.expect("a request") != b'\n' {}
}

/// Runs both sides in bounded time, so that a missing deadline fails the test instead of hanging it.
async fn both<C, S>(client: impl Future<Output = C>, server: impl Future<Output = S>) -> (C, S) {
    let sides = async { tokio::join!(client, server) };
    let outcome = time::timeout(100 * TIMEOUT, sides).await;
    outcome.expect("both sides complete")
}

#[track_caller]
fn assert_timed_out_mid_line<T>(result: Result<T, Error>) {
    match result {
        Err(Error::TimedOut {
            after: TIMEOUT,
            mid_line: true,
        }) => {}
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the reply was accepted"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_welcome_written_byte_by_byte_times_out() {
    let (near, mut far) = duplex(64);
    let start = Instant::now();
    let client = async {
        let greeted = Connection::greet(near, TIMEOUT).await;
        assert_eq!(start.elapsed(), TIMEOUT);
        greeted
    };
    assert_timed_out_mid_line(both(client, write_slowly(&mut far, WELCOME)).await.0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_written_byte_by_byte_times_out() {
    let (mut connection, mut far) = connect().await;
    let start = Instant::now();
    let server = async {
        read_line(&mut far).await;
        write_slowly(&mut far, "Saturday\n").await;
    };
    let client = async {
        let reply = connection.ask("day").await;
        assert_eq!(start.elapsed(), TIMEOUT);
        reply
    };
    assert_timed_out_mid_line(both(client, server).await.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_read_byte_by_byte_times_out() {
    let (mut connection, mut far) = connect().await;
    let start = Instant::now();
    let line = "7".repeat(100);
    let server = async {
        for _ in 0..line.len() {
            time::sleep(PAUSE).await;
            if far.read_u8().await.is_err() {
                return;
            }
        }
    };
    let client = async {
        let reply = connection.ask(&line).await;
        assert_eq!(start.elapsed(), TIMEOUT);
        drop(connection);
        reply
    };
    let (reply, ()) = both(client, server).await;
    assert!(matches!(reply, Err(Error::TimedOut { .. })), "{reply:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sum_written_byte_by_byte_times_out_after_the_last_digit_sent() {
    let (mut connection, mut far) = connect().await;
    let (mut writer, input) = duplex(64);
    let start = Instant::now();
    let server = async {
        // A slow input does not count against the server.
        time::sleep(3 * TIMEOUT).await;
        writer.write_all(b"99999").await.expect("buffer space");
        drop(writer);
        read_line(&mut far).await;
        write_slowly(&mut far, "45\n").await;
    };
    let client = async {
        let reply = connection.sum(input).await;
        assert_eq!(start.elapsed(), 4 * TIMEOUT);
        reply
    };
    assert_timed_out_mid_line(both(client, server).await.0);
}

/// Returns a pipe whose stream buffers `buffer_bytes`, its input, and the stream of the server.
async fn piped(buffer_bytes: usize) -> (Pipe<DuplexStream, DuplexStream>, Input, DuplexStream) {
    let (near, mut far) = duplex(buffer_bytes);
    let (greeted, sent) = tokio::join!(
        Connection::greet(near, TIMEOUT),
        far.write_all(WELCOME.as_bytes())
    );
    sent.expect("the client reads");
    let (writer, input) = duplex(4096);
    (greeted.expect("the welcome").pipe(input), writer, far)
}

/// The write end of a pipe's input.
type Input = DuplexStream;

#[tokio::test(start_paused = true)]
async fn a_pipelined_reply_written_byte_by_byte_times_out() {
    let (mut pipe, mut input, mut far) = piped(64).await;
    input.write_all(b"day\n").await.expect("buffer space");
    let start = Instant::now();
    let client = async {
        let next = pipe.next().await;
        assert_eq!(start.elapsed(), TIMEOUT);
        next
    };
    assert_timed_out_mid_line(both(client, write_slowly(&mut far, "Saturday\n")).await.0);
}

#[tokio::test(start_paused = true)]
async fn a_farewell_written_byte_by_byte_times_out() {
    let (mut pipe, mut input, mut far) = piped(64).await;
    input.write_all(b"quit\n").await.expect("buffer space");
    let start = Instant::now();
    let client = async {
        let next = pipe.next().await;
        assert_eq!(start.elapsed(), TIMEOUT);
        next
    };
    assert_timed_out_mid_line(both(client, write_slowly(&mut far, "Thank You")).await.0);
}

#[tokio::test(start_paused = true)]
async fn further_input_does_not_extend_the_deadline_of_a_reply() {
    let (mut pipe, mut input, _far) = piped(4096).await;
    let start = Instant::now();
    let typed = async {
        while input.write_all(b"day\n").await.is_ok() {
            time::sleep(PAUSE).await;
        }
    };
    let client = async {
        let next = pipe.next().await;
        assert_eq!(start.elapsed(), TIMEOUT);
        drop(pipe);
        next
    };
    let (next, ()) = both(client, typed).await;
    assert!(matches!(next, Err(Error::TimedOut { .. })), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_read_byte_by_byte_does_not_extend_the_deadline_of_the_reply_before_it() {
    let (mut pipe, mut input, mut far) = piped(4).await;
    let start = Instant::now();
    input.write_all(b"day\n").await.expect("buffer space");
    input.write_all(&[b'7'; 100]).await.expect("buffer space");
    let server = async {
        read_line(&mut far).await;
        while far.read_u8().await.is_ok() {
            time::sleep(PAUSE).await;
        }
    };
    let client = async {
        let next = pipe.next().await;
        assert_eq!(start.elapsed(), TIMEOUT);
        drop(pipe);
        next
    };
    let (next, ()) = both(client, server).await;
    assert!(matches!(next, Err(Error::TimedOut { .. })), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn each_pipelined_reply_has_the_whole_timeout() {
    let (mut pipe, mut input, mut far) = piped(64).await;
    input.write_all(b"1\n2\n3\n").await.expect("buffer space");
    drop(input);
    let server = async {
        for reply in [b"1\n", b"2\n", b"3\n"] {
            time::sleep(TIMEOUT * 9 / 10).await;
            far.write_all(reply).await.expect("buffer space");
        }
        time::sleep(TIMEOUT * 9 / 10).await;
        drop(far);
    };
    let client = async {
        for sum in 1..=3 {
            assert_eq!(pipe.next().await.expect("in time"), Some(Reply::Sum(sum)));
        }
        assert_eq!(pipe.next().await.expect("in time"), None);
    };
    both(client, server).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_sent_late_has_the_whole_timeout() {
    let (mut pipe, mut input, mut far) = piped(64).await;
    for pause in [TIMEOUT * 5, TIMEOUT / 3] {
        let server = async {
            time::sleep(pause).await;
            input.write_all(b"1\n").await.expect("buffer space");
            time::sleep(TIMEOUT * 9 / 10).await;
            far.write_all(b"1\n").await.expect("buffer space");
        };
        let (next, ()) = both(pipe.next(), server).await;
        assert_eq!(next.expect("in time"), Some(Reply::Sum(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_long_line_restarts_with_each_write() {
    let (mut pipe, mut input, mut far) = piped(1).await;
    input.write_all(b"12345\n").await.expect("buffer space");
    let server = async {
        for _ in 0..6 {
            time::sleep(TIMEOUT * 9 / 10).await;
            far.read_u8().await.expect("a byte");
        }
        far.write_all(b"15\n").await.expect("the client reads");
    };
    let (next, ()) = both(pipe.next(), server).await;
    assert_eq!(next.expect("in time"), Some(Reply::Sum(15)));
}

#[tokio::test(start_paused = true)]
async fn dropping_next_does_not_restart_the_deadline() {
    let (mut pipe, mut input, _far) = piped(64).await;
    input.write_all(b"day\n").await.expect("buffer space");
    let start = Instant::now();
    let failure = loop {
        if let Ok(next) = time::timeout(PAUSE * 2 / 3, pipe.next()).await {
            break next;
        }
        assert!(start.elapsed() < 2 * TIMEOUT, "the deadline restarted");
    };
    assert!(matches!(failure, Err(Error::TimedOut { .. })));
    assert_eq!(start.elapsed(), TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_may_exceed_the_range_of_the_clock() {
    let (near, mut far) = duplex(64);
    far.write_all(WELCOME.as_bytes())
        .await
        .expect("buffer space");
    let greeted = Connection::greet(near, Duration::MAX).await;
    let mut connection = greeted.expect("the welcome");
    let server = async {
        for _ in 0..2 {
            read_line(&mut far).await;
            time::sleep(TIMEOUT).await;
            far.write_all(b"1\n").await.expect("buffer space");
        }
    };
    let client = async {
        let reply = connection.ask("1").await;
        assert_eq!(reply.expect("in time"), Some(Reply::Sum(1)));
        let mut pipe = connection.pipe(&b"1\n"[..]);
        assert_eq!(pipe.next().await.expect("in time"), Some(Reply::Sum(1)));
    };
    both(client, server).await;
}
