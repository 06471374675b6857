//! Pipelined requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chime_client::{Connection, Error, Pipe};
use chime_protocol::{Framing, Reply, Service};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::time::{self, Instant};

use crate::TIMEOUT;
use crate::servers::serve;

/// Returns a pipe, and the stream of a server scripted by the test.
async fn scripted<R: AsyncRead + Unpin>(
    capacity: usize,
    input: R,
) -> (Pipe<DuplexStream, R>, DuplexStream) {
    let (near, mut far) = duplex(capacity);
    let (greeted, sent) = tokio::join!(
        Connection::greet(near, TIMEOUT),
        far.write_all(b"Welcome to the server\n")
    );
    sent.expect("buffer space");
    (greeted.expect("the welcome").pipe(input), far)
}

/// Returns a pipe to a server with the real protocol.
async fn connect<R: AsyncRead + Unpin>(
    capacity: usize,
    service: Service,
    input: R,
) -> Pipe<DuplexStream, R> {
    let (near, far) = duplex(capacity);
    tokio::spawn(serve(far, service, Framing::Line));
    let connection = Connection::greet(near, TIMEOUT).await;
    connection.expect("the welcome").pipe(input)
}

/// Returns all replies, one per line.
async fn drain<S, R>(mut pipe: Pipe<S, R>) -> Result<String, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    let mut text = String::new();
    while let Some(reply) = pipe.next().await? {
        text += &format!("{reply}\n");
    }
    Ok(text)
}

/// Awaits `wait`, and panics if it does not complete in virtual time.
async fn with_timeout<T>(wait: impl Future<Output = T>) -> T {
    let result = time::timeout(10 * TIMEOUT, wait).await;
    result.expect("the wait has a deadline")
}

const REQUESTS: &str = "day\n12345\n\nwhat?\nTIME\r\n99";
const REPLIES: &str =
    "Saturday\n15\nYou entered an invalid command\nYou entered an invalid command\n06:32:06\n18\n";

#[tokio::test]
async fn replies_arrive_in_order_however_the_bytes_are_split() {
    for capacity in [1, 2, 7, 4096] {
        let (mut writer, input) = duplex(capacity);
        let typed = async {
            writer.write_all(REQUESTS.as_bytes()).await.unwrap();
            drop(writer);
        };
        let pipe = connect(capacity, Service::Both, input).await;
        let (replies, ()) = tokio::join!(drain(pipe), typed);
        assert_eq!(replies.unwrap(), REPLIES);
    }
}

#[tokio::test]
async fn an_empty_input_is_not_an_error() {
    let pipe = connect(64, Service::Both, tokio::io::empty()).await;
    assert_eq!(drain(pipe).await.unwrap(), "");
}

#[tokio::test]
async fn many_requests_do_not_deadlock_with_their_replies() {
    let input = "1\n".repeat(50_000);
    let pipe = connect(16, Service::Both, input.as_bytes()).await;
    assert_eq!(drain(pipe).await.unwrap(), input);
}

#[tokio::test]
async fn a_line_may_be_of_any_length() {
    let input = AsyncReadExt::chain(tokio::io::repeat(b'9').take(10_000_000), &b"\nday\n"[..]);
    let pipe = connect(65536, Service::Both, input).await;
    assert_eq!(drain(pipe).await.unwrap(), "90000000\nSaturday\n");
}

#[tokio::test]
async fn next_is_cancel_safe() {
    let mut pipe = connect(3, Service::Both, REQUESTS.as_bytes()).await;
    let mut text = String::new();
    loop {
        let next = tokio::select! {
            biased;
            next = pipe.next() => next.unwrap(),
            () = tokio::task::yield_now() => continue,
        };
        match next {
            Some(reply) => text += &format!("{reply}\n"),
            None => break,
        }
    }
    assert_eq!(text, REPLIES);
}

#[tokio::test]
async fn nothing_is_sent_after_quit() {
    let (mut writer, input) = duplex(64);
    writer.write_all(b"1\nquit\n2\n3").await.unwrap();
    let (mut pipe, mut far) = scripted(64, input).await;
    let server = async {
        let mut sent = String::new();
        far.read_to_string(&mut sent).await.unwrap();
        far.write_all(b"1\nThank You .. See You soon !! \n")
            .await
            .unwrap();
        drop(far);
        sent
    };
    let client = async {
        assert_eq!(pipe.next().await.unwrap(), Some(Reply::Sum(1)));
        assert_eq!(pipe.next().await.unwrap(), Some(Reply::Farewell));
        assert_eq!(pipe.next().await.unwrap(), None);
    };
    let (sent, ()) = tokio::join!(server, client);
    assert_eq!(sent, "1\nquit\n");
}

#[tokio::test]
async fn quit_ends_the_pipe_with_or_without_a_farewell() {
    let farewell = "Thank You .. See You soon !! \n";
    for (service, input, replies) in [
        (Service::Both, "quit\nday\n", farewell.to_owned()),
        (Service::Both, "1\n exit", format!("1\n{farewell}")),
        (
            Service::DateTime,
            "day\nEXIT\r\nday\n",
            "Saturday\n".to_owned(),
        ),
        (Service::DateTime, "quit", String::new()),
        (Service::DigitSum, "11\nquit\n", format!("2\n{farewell}")),
    ] {
        let pipe = connect(64, service, input.as_bytes()).await;
        assert_eq!(drain(pipe).await.unwrap(), replies, "{input}");
    }
}

#[tokio::test]
async fn a_reply_that_is_not_due_is_an_error() {
    for (input, sent) in [
        ("", "15\n"),
        ("1\n", "1\n15\n"),
        ("1\n", "Welcome to the server\n"),
        ("1\n", "The server is full, please try again later\n"),
        ("1\n", "Thank You .. See You soon !! \n"),
        ("1\nquit\n", "Thank You .. See You soon !! \n"),
        ("quit\n", "1\n"),
        (
            "quit\n",
            "Thank You .. See You soon !! \nThank You .. See You soon !! \n",
        ),
    ] {
        let (mut pipe, mut far) = scripted(256, input.as_bytes()).await;
        let server = async {
            far.read_to_end(&mut Vec::new()).await.unwrap();
            far.write_all(sent.as_bytes()).await.unwrap();
        };
        let client = async {
            while pipe.next().await?.is_some() {}
            Ok::<_, Error>(())
        };
        let (result, ()) = tokio::join!(client, server);
        let last = sent.lines().last().unwrap();
        assert!(
            matches!(&result, Err(Error::Unexpected(reply)) if reply.to_string() == last),
            "{input}, {sent}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_line_of_another_protocol_is_an_error() {
    let (mut pipe, mut far) = scripted(64, &b"day\n"[..]).await;
    far.write_all(b"Caturday\n").await.unwrap();
    assert!(matches!(pipe.next().await, Err(Error::UnknownReply(line)) if line == b"Caturday"));
}

#[tokio::test]
async fn a_close_while_a_reply_is_due_is_an_error() {
    for (input, sent) in [
        ("1\n", ""),
        ("1\n2\n", "1\n"),
        ("1\n2\nquit\n", "1\n"),
        ("quit\n", "Thank You"),
    ] {
        let (pipe, mut far) = scripted(64, input.as_bytes()).await;
        let server = async {
            far.read_to_end(&mut Vec::new()).await.unwrap();
            far.write_all(sent.as_bytes()).await.unwrap();
            drop(far);
        };
        let (result, ()) = tokio::join!(drain(pipe), server);
        assert!(matches!(result, Err(Error::Closed)), "{input}: {result:?}");
    }
}

#[tokio::test]
async fn a_close_before_the_input_ends_is_an_error() {
    let (_writer, input) = duplex(64);
    let (mut pipe, far) = scripted(64, input).await;
    drop(far);
    assert!(matches!(pipe.next().await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_close_with_unsent_requests_is_an_error() {
    let (mut pipe, mut far) = scripted(4, &b"1234567"[..]).await;
    let server = async {
        far.read_exact(&mut [0; 2]).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let (next, ()) = tokio::join!(pipe.next(), server);
    assert!(matches!(next, Err(Error::Closed)), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_input_never_times_out() {
    let (mut writer, input) = duplex(64);
    let pipe = connect(64, Service::Both, input).await;
    let typed = async {
        for bytes in ["12", "3\n4", "5\n"] {
            time::sleep(Duration::from_secs(3600)).await;
            writer.write_all(bytes.as_bytes()).await.unwrap();
        }
        time::sleep(Duration::from_secs(3600)).await;
        drop(writer);
    };
    let (replies, ()) = tokio::join!(drain(pipe), typed);
    assert_eq!(replies.unwrap(), "6\n9\n");
}

#[tokio::test(start_paused = true)]
async fn each_wait_for_the_server_ends_at_the_timeout() {
    for (awaited, capacity, input) in [
        ("a reply", 64, "1\n2"),
        ("buffer space for requests", 4, "12345678"),
        ("the close", 64, ""),
        ("the close after quit", 64, "quit\n1\n"),
    ] {
        let (mut pipe, _far) = scripted(capacity, input.as_bytes()).await;
        let start = Instant::now();
        let next = with_timeout(pipe.next()).await;
        assert!(
            matches!(
                next,
                Err(Error::TimedOut {
                    mid_line: false,
                    ..
                })
            ),
            "{awaited}: {next:?}"
        );
        assert_eq!(start.elapsed(), TIMEOUT, "{awaited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_due_reply_times_out_while_the_input_is_idle() {
    let (mut writer, input) = duplex(64);
    writer.write_all(b"1\n").await.unwrap();
    let (mut pipe, _far) = scripted(64, input).await;
    let start = Instant::now();
    assert!(matches!(
        with_timeout(pipe.next()).await,
        Err(Error::TimedOut { .. })
    ));
    assert_eq!(start.elapsed(), TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_reply_times_out_mid_line() {
    let (mut pipe, mut far) = scripted(64, &b"day\n"[..]).await;
    far.write_all(b"Satur").await.unwrap();
    assert!(matches!(
        with_timeout(pipe.next()).await,
        Err(Error::TimedOut { mid_line: true, .. })
    ));
}

/// An input that fails.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::IsADirectory.into()))
    }
}

#[tokio::test]
async fn an_input_error_is_distinct_from_a_stream_error() {
    let (mut pipe, _far) = scripted(64, Broken).await;
    assert!(matches!(
        pipe.next().await,
        Err(Error::Input(error)) if error.kind() == io::ErrorKind::IsADirectory
    ));
}
