//! Graceful shutdown: it drains the backlog, connections and datagrams, and floods and errors do not delay it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chime_server::{Counter, ListenerConfig};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use crate::conversations::expect_text;
use crate::sockets::{InMemoryServer, PEER, WELCOME, read_to_eof};
use crate::{QUIET, options, options_for, run};

fn io_error() -> io::Error {
    io::Error::other("too many open files")
}

#[test]
fn t16_shutdown_interrupts_the_pause_after_a_failed_accept() {
    run(async {
        let server = InMemoryServer::start(options());
        server
            .backlog
            .send(Err(io_error()))
            .expect("the server accepts");
        sleep(Duration::from_millis(1)).await;
        let mut client = server.connect();
        client.write_all(b"12\n").await.expect("sent");
        let start = Instant::now();
        server.stop.cancel();
        assert_eq!(read_to_eof(&mut client).await, format!("{WELCOME}3\n"));
        drop(client);
        let snapshot = server.join().await;
        assert_eq!(snapshot[Counter::AcceptFailed], 1);
        assert!(start.elapsed() <= QUIET * 3, "{:?}", start.elapsed());
    });
}

#[test]
fn t16_a_failed_accept_during_the_drain_is_retried() {
    run(async {
        let server = InMemoryServer::start(options());
        yield_now().await;
        server.stop.cancel();
        for _ in 0..3 {
            server
                .backlog
                .send(Err(io_error()))
                .expect("the server accepts");
        }
        let mut client = server.connect();
        client.write_all(b"12\n").await.expect("sent");
        assert_eq!(read_to_eof(&mut client).await, format!("{WELCOME}3\n"));
        drop(client);
        assert_eq!(server.join().await[Counter::AcceptFailed], 3);
    });
}

#[test]
fn t16_retries_of_failing_accepts_end_at_the_drain_timeout() {
    run(async {
        let server = InMemoryServer::start(options());
        for _ in 0..100_000 {
            server
                .backlog
                .send(Err(io_error()))
                .expect("the server accepts");
        }
        let start = Instant::now();
        server.stop().await;
        assert_eq!(start.elapsed(), options().drain_timeout);
    });
}

#[test]
fn t16_the_backlog_drain_is_bounded_during_a_connect_flood() {
    run(async {
        const BACKLOG: u64 = 4096;
        let server = InMemoryServer::start(options_for(10_000));
        let clients: Vec<_> = (0..BACKLOG + 100).map(|_| server.connect()).collect();
        server.stop.cancel();
        drop(clients);
        let snapshot = server.join().await;
        assert_eq!(snapshot[Counter::ConnectionServed], BACKLOG);
    });
}

#[test]
fn t16_shutdown_interrupts_the_pause_after_a_failed_receive() {
    run(async {
        let mut server = InMemoryServer::start(options());
        server
            .requests
            .send(Err(io_error()))
            .expect("the server receives");
        sleep(Duration::from_millis(1)).await;
        server.send_datagram(b"day", PEER);
        let start = Instant::now();
        server.stop.cancel();
        assert_eq!(
            server.replies.recv().await.as_deref(),
            Some(&b"Saturday"[..])
        );
        server.join().await;
        assert!(start.elapsed() <= QUIET * 3, "{:?}", start.elapsed());
    });
}

#[test]
fn t16_the_datagram_drain_is_bounded_during_a_flood() {
    run(async {
        let server = InMemoryServer::start(options());
        for _ in 0..100 {
            server.send_datagram(b"day", PEER);
        }
        let snapshot = server.stop().await;
        assert_eq!(
            snapshot[Counter::DatagramAnswered],
            64,
            "each datagram is a batch in memory"
        );
    });
}

#[test]
fn t16_an_idle_client_is_closed_after_the_quiet_period() {
    run(async {
        let server = InMemoryServer::start(options());
        let mut client = server.connect();
        expect_text(&mut client, WELCOME).await;
        let start = Instant::now();
        server.stop.cancel();
        assert_eq!(read_to_eof(&mut client).await, "");
        assert_eq!(start.elapsed(), QUIET);
    });
}

#[test]
fn t16_input_reported_within_the_quiet_period_is_answered() {
    run(async {
        let server = InMemoryServer::start(options());
        let mut client = server.connect();
        expect_text(&mut client, WELCOME).await;
        server.stop.cancel();
        sleep(QUIET - Duration::from_millis(1)).await;
        client.write_all(b"12\n34\n").await.expect("sent");
        assert_eq!(read_to_eof(&mut client).await, "3\n7\n");
    });
}

/// A stream that returns one byte per read.
struct OneBytePerRead(DuplexStream);

impl AsyncRead for OneBytePerRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = buffer.take(1);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut byte))?;
        let length = byte.filled().len();
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OneBytePerRead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[test]
fn t16_a_read_pending_on_the_task_budget_does_not_end_the_drain() {
    run(async {
        let server = InMemoryServer::start(options());
        let (mut client, stream) = duplex(1024);
        server.accept(OneBytePerRead(stream), PEER);
        let requests = "day\n".repeat(250);
        client.write_all(requests.as_bytes()).await.expect("sent");
        // The client does not read, so the drain begins with unread input.
        server.stop.cancel();
        sleep(QUIET * 2).await;
        // The rest takes more reads than tokio's budget of one poll.
        let replies = "Saturday\n".repeat(250);
        assert!(read_to_eof(&mut client).await == format!("{WELCOME}{replies}"));
    });
}

#[test]
fn t16_a_request_flood_is_cut_at_the_drain_timeout_and_counted() {
    run(async {
        let server = InMemoryServer::start(options());
        let (client, stream) = duplex(1024);
        server.accept(stream, PEER);
        let (mut reader, mut writer) = tokio::io::split(client);
        let sender = spawn_local(async move { while writer.write_all(b"1\n").await.is_ok() {} });
        let receiver = spawn_local(async move {
            let mut buffer = [0; 256];
            loop {
                // Lets virtual time advance.
                sleep(Duration::from_millis(1)).await;
                match reader.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        });
        sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        let snapshot = server.stop().await;
        assert_eq!(start.elapsed(), options().drain_timeout);
        assert_eq!(snapshot[Counter::ConversationCut], 1);
        sender.await.expect("no panic");
        receiver.await.expect("no panic");
    });
}

#[test]
fn t21_an_incomplete_header_does_not_delay_shutdown() {
    run(async {
        let config = ListenerConfig {
            proxies: Some(["127.0.0.0/8".parse().expect("a network")].into()),
            ..ListenerConfig::default()
        };
        let server = InMemoryServer::with_config(config, options());
        let mut client = server.connect();
        client.write_all(b"PROXY TCP4").await.expect("sent");
        yield_now().await;
        let start = Instant::now();
        server.stop.cancel();
        assert_eq!(read_to_eof(&mut client).await, "");
        let snapshot = server.join().await;
        assert_eq!(snapshot[Counter::HeaderRejected], 1);
        assert!(start.elapsed() <= QUIET * 2, "{:?}", start.elapsed());
    });
}
