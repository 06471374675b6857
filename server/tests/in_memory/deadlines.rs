//! Deadlines are exact, and input that arrived in time gets its reply before a deadline closes the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chime_server::{ConversationError, Counter, ListenerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use crate::conversations::{connect, expect_text, timeout_error};
use crate::sockets::{InMemoryServer, PEER, UNREACHABLE, WELCOME, read_to_eof};
use crate::{QUIET, options, run};

const MS: Duration = Duration::from_millis(1);

/// Returns how many bytes are read in this time at the minimum rate of 2,000 bytes a second.
fn bytes_in(time: Duration) -> usize {
    (time.as_secs_f64() * 2_000.0) as usize
}

#[test]
fn t27_input_reported_within_the_quiet_period_after_a_deadline_is_answered() {
    run(async {
        let (mut client, _served) = connect(1024);
        expect_text(&mut client, WELCOME).await;
        // Between lines, and within a line.
        for (sent, timeout) in [("", options().idle_timeout), ("1", options().line_timeout)] {
            client.write_all(sent.as_bytes()).await.expect("sent");
            let bytes = Duration::from_millis(2) * u32::try_from(sent.len()).expect("short");
            sleep(timeout + bytes + QUIET - MS).await;
            client.write_all(b"2\n").await.expect("still open");
            let sum = if sent.is_empty() { "2\n" } else { "3\n" };
            expect_text(&mut client, sum).await;
        }
    });
}

#[test]
fn t07_bytes_after_the_line_deadline_do_not_extend_it() {
    run(async {
        let (mut client, served) = connect(1024);
        expect_text(&mut client, WELCOME).await;
        client.write_all(b"1").await.expect("sent");
        let start = Instant::now();
        sleep(options().line_timeout).await;
        // Faster than the quiet period, and slower than the minimum rate.
        while client.write_all(b"1").await.is_ok() && start.elapsed() < 2 * options().line_timeout {
            sleep(5 * MS).await;
        }
        assert!(matches!(
            timeout_error(served).await,
            ConversationError::SlowLine
        ));
        let latest = options().line_timeout + 3 * QUIET;
        assert!(start.elapsed() <= latest, "{:?}", start.elapsed());
    });
}

#[test]
fn t28_a_reader_at_the_minimum_rate_is_not_cut_whatever_the_kernel_buffers() {
    run(async {
        // The receive buffer of the client's kernel: the server sees no progress until it is empty.
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
fn t09_the_write_deadline_allows_for_reading_the_written_bytes_at_the_minimum_rate() {
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
                timeout_error(served).await,
                ConversationError::SlowReader
            ));
            let deadline = options().write_timeout + read_time + QUIET;
            assert_eq!(start.elapsed(), deadline, "window {window}");
            assert!(
                sender.await.expect("no panic").is_err(),
                "the server read everything"
            );
        });
    }
}

#[test]
fn the_time_allowed_for_reading_does_not_accumulate() {
    run(async {
        let (mut client, served) = connect(100);
        expect_text(&mut client, WELCOME).await;
        for _ in 0..1_000 {
            client.write_all(b"1\n").await.expect("sent");
            expect_text(&mut client, "1\n").await;
            sleep(2 * MS).await;
        }
        let start = Instant::now();
        let sender = spawn_local(async move { client.write_all(&[b'\n'; 100_000]).await });
        assert!(matches!(
            timeout_error(served).await,
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
fn t27_a_header_reported_within_the_quiet_period_after_its_deadline_is_read() {
    run(async {
        let server = InMemoryServer::with_config(proxy_config(), options());
        let mut client = server.connect();
        client.write_all(b"PROXY UNKNOWN").await.expect("sent");
        sleep_until(Instant::now() + Duration::from_secs(3) + QUIET - MS).await;
        client
            .write_all(b"\r\n12\nquit\n")
            .await
            .expect("still open");
        let text = read_to_eof(&mut client).await;
        assert!(text.starts_with(&format!("{WELCOME}3\n")), "{text}");
    });
}

fn proxy_config() -> ListenerConfig {
    ListenerConfig {
        proxies: Some(["127.0.0.0/8".parse().expect("a network")].into()),
        ..ListenerConfig::default()
    }
}

/// A stream that panics when it is read.
struct PanickingStream;

impl AsyncRead for PanickingStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("the panic that the test injects");
    }
}

impl AsyncWrite for PanickingStream {
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
fn t22_a_panic_releases_the_permit_of_its_connection() {
    for (config, counted) in [
        (proxy_config(), Counter::HeaderRejected),
        (ListenerConfig::default(), Counter::ConversationPanicked),
    ] {
        run(async move {
            let server = InMemoryServer::with_config(config.clone(), options());
            // More connections than permits.
            for _ in 0..10 {
                server.accept(PanickingStream, PEER);
                sleep(MS).await;
            }
            let header = if config.proxies.is_some() {
                "PROXY UNKNOWN\r\n"
            } else {
                ""
            };
            let text = server.replies_to(&format!("{header}12\n")).await;
            assert_eq!(text, format!("{WELCOME}3\n"));
            let snapshot = server.stop().await;
            assert_eq!(snapshot[counted], 10);
            assert_eq!(
                snapshot[Counter::ConnectionServed],
                snapshot.conversations_ended()
            );
        });
    }
}

#[test]
fn an_unsent_reply_is_counted_and_does_not_affect_other_datagrams() {
    run(async {
        let mut server = InMemoryServer::start(options());
        for address in [PEER.ip(), UNREACHABLE, PEER.ip()] {
            server.send_datagram(b"day", (address, 2000).into());
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
