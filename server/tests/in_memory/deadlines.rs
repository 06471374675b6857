//! Deadlines strike neither early nor late, and never before input that arrived in time is answered.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chime_server::{ConversationError, Counter, ListenerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use crate::conversations::{connect, failure, read_text};
use crate::sockets::{PEER, Server, UNREACHABLE, WELCOME, rest_of};
use crate::{QUIET, options, run};

const MS: Duration = Duration::from_millis(1);

/// The bytes that a reader of 2,000 bytes a second takes in this time.
fn bytes_in(time: Duration) -> usize {
    (time.as_secs_f64() * 2_000.0) as usize
}

#[test]
fn t27_input_that_is_reported_after_the_deadline_is_answered() {
    run(async {
        let (mut client, _served) = connect(1024);
        read_text(&mut client, WELCOME).await;
        // Without a line, and in the middle of one.
        for (sent, timeout) in [("", options().idle_timeout), ("1", options().line_timeout)] {
            client.write_all(sent.as_bytes()).await.expect("sent");
            let bytes = Duration::from_millis(2) * u32::try_from(sent.len()).expect("few");
            sleep(timeout + bytes + QUIET - MS).await;
            client.write_all(b"2\n").await.expect("still open");
            let sum = if sent.is_empty() { "2\n" } else { "3\n" };
            read_text(&mut client, sum).await;
        }
    });
}

#[test]
fn t07_a_drip_after_the_deadline_does_not_put_it_off() {
    run(async {
        let (mut client, served) = connect(1024);
        read_text(&mut client, WELCOME).await;
        client.write_all(b"1").await.expect("sent");
        let start = Instant::now();
        sleep(options().line_timeout).await;
        // Faster than the quiet period, and slower than the minimum rate.
        while client.write_all(b"1").await.is_ok() && start.elapsed() < 2 * options().line_timeout {
            sleep(5 * MS).await;
        }
        assert!(matches!(failure(served).await, ConversationError::SlowLine));
        let latest = options().line_timeout + 3 * QUIET;
        assert!(start.elapsed() <= latest, "{:?}", start.elapsed());
    });
}

#[test]
fn t28_a_reader_at_the_minimum_rate_is_not_cut_whatever_the_kernel_hides() {
    run(async {
        // What the kernel of a client holds: it reports no reading until all of it has been read.
        const WINDOW: usize = 128 << 10;
        let (client, served) = connect(WINDOW);
        let (mut reader, mut writer) = tokio::io::split(client);
        let lines = 10 * WINDOW / 2;
        let sender = spawn_local(async move {
            writer.write_all(&b"1\n".repeat(lines)).await.expect("sent");
            writer.shutdown().await.expect("half-closed");
        });
        let mut text = Vec::new();
        let mut window = vec![0; WINDOW];
        while text.len() < WELCOME.len() + 2 * lines {
            sleep(Duration::from_secs(WINDOW as u64 / 2_000)).await;
            let length = window.len().min(WELCOME.len() + 2 * lines - text.len());
            reader
                .read_exact(&mut window[..length])
                .await
                .expect("still open");
            text.extend_from_slice(&window[..length]);
        }
        assert!(text.ends_with(b"1\n1\n"));
        sender.await.expect("no panic");
        assert!(served.task.await.expect("no panic").is_ok());
    });
}

#[test]
fn t09_a_client_that_never_reads_has_the_time_to_read_what_was_written_and_no_more() {
    for (window, read_time) in [
        (64, Duration::from_millis(32)),
        (10_000, Duration::from_secs(5)),
        (bytes_in(Duration::from_secs(66)), Duration::from_secs(66)),
        (bytes_in(Duration::from_secs(120)), Duration::from_secs(66)),
    ] {
        run(async move {
            let (mut client, served) = connect(window);
            let start = Instant::now();
            let sender = spawn_local(async move { client.write_all(&[b'\n'; 1 << 20]).await });
            assert!(matches!(
                failure(served).await,
                ConversationError::SlowReader
            ));
            let deadline = options().write_timeout + read_time + QUIET;
            assert_eq!(start.elapsed(), deadline, "window {window}");
            assert!(
                sender.await.expect("no panic").is_err(),
                "it was not all read"
            );
        });
    }
}

#[test]
fn time_to_read_does_not_add_up_for_a_client_that_keeps_up() {
    run(async {
        let (mut client, served) = connect(100);
        read_text(&mut client, WELCOME).await;
        for _ in 0..1_000 {
            client.write_all(b"1\n").await.expect("sent");
            read_text(&mut client, "1\n").await;
            sleep(2 * MS).await;
        }
        let start = Instant::now();
        let sender = spawn_local(async move { client.write_all(&[b'\n'; 100_000]).await });
        assert!(matches!(
            failure(served).await,
            ConversationError::SlowReader
        ));
        let read_time = Duration::from_micros(500) * 100;
        let deadline = options().write_timeout + read_time + QUIET;
        assert!(
            start.elapsed().abs_diff(deadline) <= 2 * MS,
            "{:?}",
            start.elapsed()
        );
        assert!(sender.await.expect("no panic").is_err());
    });
}

#[test]
fn t27_a_header_that_is_reported_after_its_deadline_is_read() {
    run(async {
        let server = Server::with_config(behind_proxy(), options());
        let mut client = server.connect();
        client.write_all(b"PROXY UNKNOWN").await.expect("sent");
        sleep_until(Instant::now() + Duration::from_secs(3) + QUIET - MS).await;
        client
            .write_all(b"\r\n12\nquit\n")
            .await
            .expect("still open");
        let said = rest_of(&mut client).await;
        assert!(said.starts_with(&format!("{WELCOME}3\n")), "{said}");
    });
}

fn behind_proxy() -> ListenerConfig {
    ListenerConfig {
        proxies: Some(["127.0.0.0/8".parse().expect("a network")].into()),
        ..ListenerConfig::default()
    }
}

/// A stream that panics when it is read.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("the stream is broken, as the test wants it");
    }
}

impl AsyncWrite for Broken {
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
fn t22_a_panic_ends_one_connection_in_its_header_too_and_gives_its_permit_back() {
    for (config, counted) in [
        (behind_proxy(), Counter::HeaderRejected),
        (ListenerConfig::default(), Counter::ConversationPanicked),
    ] {
        run(async move {
            let server = Server::with_config(config.clone(), options());
            // More than there are permits for.
            for _ in 0..10 {
                server.accept(Broken, PEER);
                sleep(MS).await;
            }
            let header = if config.proxies.is_some() {
                "PROXY UNKNOWN\r\n"
            } else {
                ""
            };
            let said = server.converse(&format!("{header}12\n")).await;
            assert_eq!(said, format!("{WELCOME}3\n"));
            let snapshot = server.stop().await;
            assert_eq!(snapshot[counted], 10);
            assert_eq!(
                snapshot[Counter::ConnectionServed],
                snapshot.conversations_over()
            );
        });
    }
}

#[test]
fn a_datagram_whose_reply_cannot_be_sent_is_counted_apart_and_hurts_no_other() {
    run(async {
        let mut server = Server::start(options());
        for address in [PEER.ip(), UNREACHABLE, PEER.ip()] {
            server.ask(b"day", (address, 2000).into());
        }
        for _ in 0..2 {
            assert_eq!(
                server.replies.recv().await.as_deref(),
                Some(&b"Saturday"[..])
            );
        }
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::DatagramAnswered],
                snapshot[Counter::DatagramUnsent]
            ),
            (2, 1)
        );
    });
}
