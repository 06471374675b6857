//! Sums of the digits of a reader.

use chime_client::{Connection, Error};
use chime_protocol::{Framing, Reply, Service};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use crate::TIMEOUT;
use crate::servers::{repeat, serve};

/// Connects to a server whose stream buffers `buffer_bytes`.
async fn connect(service: Service, buffer_bytes: usize) -> Connection<DuplexStream> {
    let (near, far) = duplex(buffer_bytes);
    tokio::spawn(serve(far, service, Framing::Line));
    Connection::greet(near, TIMEOUT).await.expect("the welcome")
}

/// Sums `input` at a server with all commands.
async fn sum(input: impl AsyncRead + Unpin) -> Result<u64, Error> {
    connect(Service::Both, 4096).await.sum(input).await
}

#[tokio::test]
async fn a_connection_is_usable_after_a_sum() {
    let many = "9".repeat(200_000);
    for buffer_bytes in [1, 7, 4096] {
        let mut connection = connect(Service::Both, buffer_bytes).await;
        for (digits, sum) in [("12345", 15), ("007\n", 7), (&*many, 1_800_000)] {
            assert_eq!(connection.sum(digits.as_bytes()).await.unwrap(), sum);
        }
        assert_eq!(connection.ask("1").await.unwrap(), Some(Reply::Sum(1)));
    }
}

#[tokio::test]
async fn a_sum_does_not_depend_on_how_its_input_is_split() {
    let input = b"1".chain(&b"23"[..]).chain(&b"4\r"[..]).chain(&b"\n"[..]);
    assert_eq!(sum(input).await.unwrap(), 10);
}

#[tokio::test]
async fn an_input_that_is_not_digits_is_an_error() {
    let input = b"12".chain(&b"3\n"[..]).chain(&b"4"[..]);
    let not_digit = sum(input).await;
    assert!(
        matches!(
            not_digit,
            Err(Error::NotDigit {
                offset: 3,
                byte: b'\n'
            })
        ),
        "{not_digit:?}"
    );
    assert!(matches!(sum(&b"\n"[..]).await, Err(Error::NoDigits)));
}

#[tokio::test]
async fn an_input_error_is_distinct_from_a_server_error() {
    let folder = tokio::fs::File::open(env!("CARGO_MANIFEST_DIR")).await;
    assert!(matches!(sum(folder.unwrap()).await, Err(Error::Input(_))));
}

#[tokio::test]
async fn a_service_without_sums_replies_with_an_error() {
    let mut connection = connect(Service::DateTime, 64).await;
    let rejected = connection.sum(&b"12345"[..]).await;
    assert!(matches!(
        rejected,
        Err(Error::ErrorReply(Reply::CommandError))
    ));
}

#[tokio::test]
async fn only_a_sum_is_a_reply_to_digits() {
    for reply in ["Saturday\n", "Welcome to the server\n"] {
        let (near, far) = duplex(64);
        tokio::spawn(repeat(far, "Welcome to the server\n", reply));
        let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
        let reply = connection.sum(&b"12345"[..]).await;
        assert!(matches!(reply, Err(Error::Unexpected(_))), "{reply:?}");
    }
}

#[tokio::test]
async fn an_unsolicited_reply_is_an_error() {
    let (near, mut far) = duplex(64);
    far.write_all(b"Welcome to the server\n15\n").await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let reply = connection.sum(&b"12345"[..]).await;
    assert!(matches!(reply, Err(Error::Unexpected(Reply::Sum(15)))));
}

#[tokio::test]
async fn a_close_before_the_sum_is_an_error() {
    let (near, mut far) = duplex(64);
    far.write_all(b"Welcome to the server\n").await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    drop(far);
    let reply = connection.sum(&b"12345"[..]).await;
    assert!(matches!(reply, Err(Error::Closed)), "{reply:?}");
}

#[tokio::test]
async fn a_buffered_stream_is_flushed_after_a_sum() {
    let (near, far) = duplex(4096);
    tokio::spawn(serve(far, Service::Both, Framing::Line));
    let stream = BufStream::new(near);
    let mut connection = Connection::greet(stream, TIMEOUT).await.unwrap();
    assert_eq!(connection.sum(&b"12345"[..]).await.unwrap(), 15);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_sum_restarts_with_each_write() {
    let (near, mut far) = duplex(64);
    far.write_all(b"Welcome to the server\n").await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let digits = "7".repeat(1024);
    let start = Instant::now();
    let server = async {
        for _ in 0..16 {
            sleep(TIMEOUT / 2).await;
            far.read_exact(&mut [0; 64]).await.unwrap();
        }
        assert_eq!(far.read_u8().await.unwrap(), b'\n');
        far.write_all(b"7168\n").await.unwrap();
    };
    let (sum, ()) = tokio::join!(connection.sum(digits.as_bytes()), server);
    assert_eq!(sum.unwrap(), 7168);
    assert!(start.elapsed() >= 8 * TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_reading_digits_times_out() {
    let (near, mut far) = duplex(64);
    far.write_all(b"Welcome to the server\n").await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let start = Instant::now();
    let reply = connection.sum("7".repeat(65).as_bytes()).await;
    assert!(matches!(reply, Err(Error::TimedOut { after: TIMEOUT, .. })));
    assert_eq!(start.elapsed(), TIMEOUT);
}
