//! One connection over an in-memory stream.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use chime_protocol::{Framing, Service, Session};
use chime_server::{ConversationError, Counters, Options, WorkerContext, converse};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

use crate::{QUIET, options, run};

/// A connection served in its own task.
pub(crate) struct ServedConnection {
    pub(crate) task: JoinHandle<Result<(), ConversationError>>,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn context(stop: &CancellationToken) -> Rc<WorkerContext> {
    let counters = Counters::default();
    Rc::new(WorkerContext::new(options(), counters, stop.clone()))
}

pub(crate) fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> ServedConnection {
    let stop = CancellationToken::new();
    serve_with(stream, context(&stop), stop)
}

pub(crate) fn serve_with(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    context: Rc<WorkerContext>,
    stop: CancellationToken,
) -> ServedConnection {
    let session = Session::new(Service::Both, Framing::Line);
    let task = spawn_local(converse(stream, session, context));
    ServedConnection { task, stop }
}

/// Serves one end of a stream that holds `capacity` bytes in each direction, and returns the other.
pub(crate) fn connect(capacity: usize) -> (DuplexStream, ServedConnection) {
    let (client, server) = duplex(capacity);
    (client, serve(server))
}

pub(crate) async fn expect_text(client: &mut DuplexStream, text: &str) {
    let mut buffer = vec![0; text.len()];
    client.read_exact(&mut buffer).await.expect("the text");
    assert_eq!(String::from_utf8_lossy(&buffer), text);
}

#[test]
fn short_reads_and_short_writes_change_nothing() {
    run(async {
        for capacity in [1, 2, 3, 7, 64] {
            let (client, served) = connect(capacity);
            let (mut reader, mut writer) = tokio::io::split(client);
            let requests = "day\r\n 123 \n\nquit\nday\n";
            let sender = spawn_local(async move { writer.write_all(requests.as_bytes()).await });
            let mut text = String::new();
            reader.read_to_string(&mut text).await.expect("ASCII");
            assert_eq!(
                text,
                "Welcome to the server\nSaturday\n6\nYou entered an invalid command\n\
                 Thank You .. See You soon !! \n"
            );
            assert!(served.task.await.unwrap().is_ok());
            // What follows quit may find the stream closed.
            let _ = sender.await.unwrap();
        }
    });
}

/// Waits until the connection is closed at a timeout.
pub(crate) async fn timeout_error(served: ServedConnection) -> ConversationError {
    served.task.await.expect("no panic").expect_err("a timeout")
}

#[test]
fn an_idle_connection_is_closed_at_the_idle_timeout() {
    run(async {
        let (mut client, served) = connect(1024);
        let start = Instant::now();
        expect_text(&mut client, "Welcome to the server\n").await;
        assert!(matches!(
            timeout_error(served).await,
            ConversationError::Idle
        ));
        assert_eq!(start.elapsed(), options().idle_timeout + QUIET);
        assert_eq!(client.read(&mut [0]).await.expect("EOF"), 0);
    });
}

#[test]
fn an_idle_timeout_before_the_line_deadline_ends_a_partial_line() {
    run(async {
        let (mut client, server) = duplex(1024);
        let stop = CancellationToken::new();
        let options = Options {
            idle_timeout: Duration::from_secs(1),
            ..options()
        };
        let context = WorkerContext::new(options, Counters::default(), stop.clone());
        let served = serve_with(server, Rc::new(context), stop);
        expect_text(&mut client, "Welcome to the server\n").await;
        client.write_all(b"1").await.expect("open");
        let start = Instant::now();
        assert!(matches!(
            timeout_error(served).await,
            ConversationError::Idle
        ));
        assert_eq!(start.elapsed(), Duration::from_secs(1) + QUIET);
    });
}

#[test]
fn each_line_restarts_the_idle_timeout() {
    run(async {
        let (mut client, served) = connect(1024);
        expect_text(&mut client, "Welcome to the server\n").await;
        let start = Instant::now();
        for _ in 0..10 {
            sleep(options().idle_timeout - Duration::from_secs(1)).await;
            client.write_all(b"1\n").await.expect("still open");
        }
        assert!(matches!(
            timeout_error(served).await,
            ConversationError::Idle
        ));
        assert_eq!(
            start.elapsed(),
            options().idle_timeout * 11 - Duration::from_secs(10) + QUIET
        );
    });
}

#[test]
fn t07_a_slow_writer_is_closed_at_the_line_deadline() {
    run(async {
        let (mut client, served) = connect(1024);
        expect_text(&mut client, "Welcome to the server\n").await;
        // The time of the previous line does not count.
        client.write_all(b"1").await.expect("sent");
        sleep(Duration::from_secs(9)).await;
        client.write_all(b"\n1").await.expect("still open");
        let start = Instant::now();
        for _ in 0..9 {
            sleep(Duration::from_secs(1)).await;
            client.write_all(b"1").await.expect("still open");
        }
        assert!(matches!(
            timeout_error(served).await,
            ConversationError::SlowLine
        ));
        // The line end before it arrives in the same read, and counts.
        let byte_time = Duration::from_millis(2) * 11;
        assert_eq!(start.elapsed(), options().line_timeout + byte_time + QUIET);
    });
}

#[test]
fn t07_the_line_deadline_is_extended_by_one_second_per_500_bytes() {
    run(async {
        let (mut client, served) = connect(1024);
        expect_text(&mut client, "Welcome to the server\n").await;
        for _ in 0..100 {
            client.write_all(&[b'1'; 500]).await.expect("still open");
            sleep(Duration::from_secs(1)).await;
        }
        client.write_all(b"\nquit\n").await.expect("still open");
        expect_text(&mut client, "50000\n").await;
        drop(client);
        assert!(served.task.await.unwrap().is_ok());
    });
}

#[test]
fn t09_a_slow_reader_is_closed_at_the_write_timeout() {
    run(async {
        let (mut client, served) = connect(64);
        let start = Instant::now();
        let sender = spawn_local(async move { client.write_all(&[b'\n'; 100_000]).await });
        assert!(matches!(
            timeout_error(served).await,
            ConversationError::SlowReader
        ));
        let read_time = Duration::from_micros(500) * 64;
        assert_eq!(start.elapsed(), options().write_timeout + read_time + QUIET);
        assert!(sender.await.unwrap().is_err(), "the server read everything");
    });
}

#[test]
fn a_slow_reader_within_the_write_timeout_gets_every_reply() {
    run(async {
        let (client, served) = connect(64);
        let (mut reader, mut writer) = tokio::io::split(client);
        spawn_local(async move {
            writer
                .write_all(&b"1\n".repeat(20_000))
                .await
                .expect("sent");
            writer.shutdown().await.expect("half-closed");
        });
        let mut text = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            sleep(options().write_timeout / 2).await;
            match reader.read(&mut buffer).await.expect("still open") {
                0 => break,
                length => text.extend_from_slice(&buffer[..length]),
            }
        }
        assert!(text == format!("Welcome to the server\n{}", "1\n".repeat(20_000)).into_bytes());
        assert!(served.task.await.unwrap().is_ok());
    });
}

#[test]
fn shutdown_replies_to_complete_lines_only() {
    run(async {
        let (mut client, served) = connect(1024);
        expect_text(&mut client, "Welcome to the server\n").await;
        client.write_all(b"12\n345\nday").await.expect("sent");
        served.stop.cancel();
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("ASCII");
        assert_eq!(text, "3\n12\n");
        drop(client);
        assert!(served.task.await.unwrap().is_ok());
    });
}

#[test]
fn shutdown_before_the_welcome_still_sends_it() {
    run(async {
        let (mut client, served) = connect(1024);
        served.stop.cancel();
        expect_text(&mut client, "Welcome to the server\n").await;
        assert_eq!(client.read(&mut [0]).await.expect("EOF"), 0);
    });
}

#[test]
fn a_closed_connection_lingers_for_at_most_one_second() {
    run(async {
        let (mut client, served) = connect(1024);
        client.write_all(b"quit\n").await.expect("sent");
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("ASCII");
        assert!(text.ends_with("See You soon !! \n"), "{text}");
        // The server still reads, so that it does not reset the connection.
        client.write_all(b"day\n").await.expect("read");
        let start = Instant::now();
        assert!(served.task.await.unwrap().is_ok());
        assert!(start.elapsed() <= Duration::from_secs(1));
        assert!(client.write_all(b"day\n").await.is_err());
    });
}

#[test]
fn a_half_closed_client_is_closed_without_linger() {
    run(async {
        let (mut client, served) = connect(1024);
        client.write_all(b"day").await.expect("sent");
        client.shutdown().await.expect("half-closed");
        let start = Instant::now();
        assert!(served.task.await.unwrap().is_ok());
        assert_eq!(start.elapsed(), Duration::ZERO);
        expect_text(&mut client, "Welcome to the server\nSaturday\n").await;
    });
}

/// A client that is always ready: it sends this number of blocks of empty lines, and reads every reply.
struct Flood(u32);

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(blocks) = self.0.checked_sub(1) else {
            return Poll::Ready(Ok(()));
        };
        self.0 = blocks;
        buffer.initialize_unfilled().fill(b'\n');
        buffer.advance(buffer.remaining());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_request_flood_yields_to_other_connections() {
    run(async {
        let stop = CancellationToken::new();
        let context = context(&stop);
        let flood = serve_with(Flood(1_000), Rc::clone(&context), stop.clone());
        let (mut client, server) = duplex(1024);
        let polite = serve_with(server, context, stop);
        client.write_all(b"day\nquit\n").await.expect("sent");
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("ASCII");
        assert!(text.contains("Saturday"), "{text}");
        assert!(!flood.task.is_finished(), "the flood was served first");
        drop(client);
        assert!(polite.task.await.unwrap().is_ok());
        flood.task.abort();
    });
}

#[test]
fn a_request_flood_during_linger_is_cut() {
    run(async {
        let session = Session::refused(Framing::Line);
        let context = context(&CancellationToken::new());
        let refused = spawn_local(converse(Flood(u32::MAX), session, context));
        while !refused.is_finished() {
            yield_now().await;
            advance(Duration::from_millis(10)).await;
        }
        assert!(refused.await.unwrap().is_ok());
    });
}
