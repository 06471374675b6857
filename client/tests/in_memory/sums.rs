//! Sums of what a reader gives.

use chime_client::{Connection, Error};
use chime_protocol::{Framing, Reply, Service};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use crate::TIMEOUT;
use crate::stand_in::{repeat, serve};

/// A client of a server that takes so many bytes ahead.
async fn greeted(service: Service, ahead_bytes: usize) -> Connection<DuplexStream> {
    let (near, far) = duplex(ahead_bytes);
    tokio::spawn(serve(far, service, Framing::Line));
    Connection::greet(near, TIMEOUT).await.expect("the welcome")
}

/// What a server of every command sums.
async fn sum(input: impl AsyncRead + Unpin) -> Result<u64, Error> {
    greeted(Service::Both, 4096).await.sum(input).await
}

#[tokio::test]
async fn a_conversation_goes_on_after_a_sum() {
    let many = "9".repeat(200_000);
    for ahead_bytes in [1, 7, 4096] {
        let mut connection = greeted(Service::Both, ahead_bytes).await;
        for (digits, sum) in [("12345", 15), ("007\n", 7), (&*many, 1_800_000)] {
            assert_eq!(connection.sum(digits.as_bytes()).await.unwrap(), sum);
        }
        assert_eq!(connection.ask("1").await.unwrap(), Some(Reply::Sum(1)));
    }
}

#[tokio::test]
async fn a_sum_does_not_depend_on_how_its_input_comes() {
    let input = b"1".chain(&b"23"[..]).chain(&b"4\r"[..]).chain(&b"\n"[..]);
    assert_eq!(sum(input).await.unwrap(), 10);
}

#[tokio::test]
async fn what_is_no_digit_has_no_sum() {
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
async fn an_input_that_fails_is_told_from_a_server_that_does() {
    let folder = tokio::fs::File::open(env!("CARGO_MANIFEST_DIR")).await;
    assert!(matches!(sum(folder.unwrap()).await, Err(Error::Input(_))));
}

#[tokio::test]
async fn a_server_without_sums_refuses() {
    let mut connection = greeted(Service::DateTime, 64).await;
    let refused = connection.sum(&b"12345"[..]).await;
    assert!(matches!(
        refused,
        Err(Error::ErrorReply(Reply::CommandError))
    ));
}

#[tokio::test]
async fn only_a_sum_answers_digits() {
    for answer in ["Saturday\n", "Welcome to the server\n"] {
        let (near, far) = duplex(64);
        tokio::spawn(repeat(far, "Welcome to the server\n", answer));
        let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
        let answer = connection.sum(&b"12345"[..]).await;
        assert!(matches!(answer, Err(Error::Unexpected(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_reply_to_nothing_is_no_sum() {
    let (near, mut far) = duplex(64);
    far.write_all(b"Welcome to the server\n15\n").await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let answer = connection.sum(&b"12345"[..]).await;
    assert!(matches!(answer, Err(Error::Unexpected(Reply::Sum(15)))));
}

#[tokio::test]
async fn a_server_that_closes_gives_no_sum() {
    let (near, mut far) = duplex(64);
    far.write_all(b"Welcome to the server\n").await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    drop(far);
    let answer = connection.sum(&b"12345"[..]).await;
    assert!(matches!(answer, Err(Error::Closed)), "{answer:?}");
}

#[tokio::test]
async fn a_stream_that_buffers_is_flushed_after_a_sum() {
    let (near, far) = duplex(4096);
    tokio::spawn(serve(far, Service::Both, Framing::Line));
    let stream = BufStream::new(near);
    let mut connection = Connection::greet(stream, TIMEOUT).await.unwrap();
    assert_eq!(connection.sum(&b"12345"[..]).await.unwrap(), 15);
}

#[tokio::test(start_paused = true)]
async fn digits_may_take_their_time_as_long_as_bytes_move() {
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
async fn a_server_that_takes_no_digits_times_out() {
    let (near, mut far) = duplex(64);
    far.write_all(b"Welcome to the server\n").await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let start = Instant::now();
    let answer = connection.sum("7".repeat(65).as_bytes()).await;
    assert!(matches!(
        answer,
        Err(Error::TimedOut { after: TIMEOUT, .. })
    ));
    assert_eq!(start.elapsed(), TIMEOUT);
}
