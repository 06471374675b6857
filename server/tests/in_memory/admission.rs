//! Admission: PROXY headers, limits per address, network rules, and the datagram rate limit.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use chime_server::{Addresses, Counter, Datagram, ListenerConfig, Networks, Options, RateLimit};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::conversations::expect_text;
use crate::sockets::{FULL, InMemoryServer, WELCOME, read_to_eof};
use crate::{QUIET, options, run};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    let parsed = texts.iter().map(|text| text.parse().expect("a network"));
    parsed.collect()
}

/// Starts a server behind proxies of 10.0.0.0/8.
fn start_behind_proxies(options: Options) -> InMemoryServer {
    let config = ListenerConfig {
        proxies: Some(networks(&["10.0.0.0/8"]).into()),
        ..ListenerConfig::default()
    };
    InMemoryServer::with_config(config, options)
}

/// Connects from the address of a proxy, sends `bytes`, half-closes, and returns everything received.
async fn send_from_proxy(server: &InMemoryServer, proxy: &str, bytes: &[u8]) -> String {
    let mut stream = server.connect_from(address(proxy));
    // The server may close an untrusted proxy before it has sent anything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    read_to_eof(&mut stream).await
}

/// Returns a PROXY header of version 2.
fn binary_header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).expect("it is short");
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header
}

/// The addresses of a version 2 header: from 192.0.2.1:50000 to 192.0.2.9:9990.
const ADDRESSES: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 9, 0xc3, 0x50, 0x27, 0x06];

#[test]
fn t21_headers_of_trusted_proxies_are_accepted() {
    let mut long = ADDRESSES.to_vec();
    // A TLV of an unknown type that makes the header as long as allowed.
    long.extend([0xe0, 0x01, 0xf9]);
    long.resize(520, 0);
    let headers: [Vec<u8>; 9] = [
        b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 9990\r\n".into(),
        b"PROXY TCP6 2001:db8::1 2001:db8::9 50000 9990\r\n".into(),
        b"PROXY UNKNOWN\r\n".into(),
        binary_header(1, 0x11, &ADDRESSES),
        binary_header(1, 0x11, &long),
        binary_header(0, 0x00, &[]),
        binary_header(0, 0x11, &ADDRESSES),
        // The addresses of the command LOCAL are ignored, even if truncated.
        binary_header(0, 0x11, &[]),
        binary_header(0, 0x21, &ADDRESSES[..5]),
    ];
    run(async move {
        let server = start_behind_proxies(options());
        let count = headers.len() as u64;
        for header in headers {
            let bytes = [&header[..], b"12\nquit\n"].concat();
            let text = send_from_proxy(&server, "10.0.0.1:40000", &bytes).await;
            let header = header.escape_ascii();
            assert!(
                text.starts_with("Welcome to the server\n3\nThank"),
                "{header}: {text}"
            );
        }
        let snapshot = server.stop().await;
        assert_eq!(
            snapshot[Counter::ByteReceived],
            8 * count,
            "bytes of headers are counted"
        );
    });
}

#[test]
fn t21_a_header_split_into_single_bytes_is_accepted() {
    for header in [
        b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 9990\r\n".to_vec(),
        binary_header(1, 0x11, &ADDRESSES),
    ] {
        run(async move {
            let server = start_behind_proxies(options());
            let mut stream = server.connect_from(address("10.0.0.1:40000"));
            for byte in header {
                stream.write_all(&[byte]).await.expect("sent");
                sleep(Duration::from_millis(10)).await;
            }
            expect_text(&mut stream, WELCOME).await;
        });
    }
}

#[test]
fn t21_connections_without_a_valid_header_are_closed_silently() {
    let headers: [Vec<u8>; 10] = [
        b"day\n".into(),
        b"\n".into(),
        b"PROXY\r\n".into(),
        b"PROXY TCP4 192.0.2.1\r\n".into(),
        b"PROXY TCP4 192.0.2.300 192.0.2.9 50000 9990\r\n".into(),
        b"PROXY TCP4 192.0.2.1 192.0.2.9 70000 9990\r\n".into(),
        b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 9990".into(),
        binary_header(7, 0x11, &ADDRESSES),
        binary_header(1, 0x11, &ADDRESSES[..11]),
        binary_header(1, 0x11, &ADDRESSES)[..20].into(),
    ];
    run(async move {
        let server = start_behind_proxies(options());
        let count = headers.len() as u64;
        for header in headers {
            let text = send_from_proxy(&server, "10.0.0.1:40000", &header).await;
            assert_eq!(text, "", "{}", header.escape_ascii());
        }
        assert_eq!(server.stop().await[Counter::HeaderRejected], count);
    });
}

#[test]
fn t21_untrusted_proxies_are_closed_silently() {
    run(async {
        let server = start_behind_proxies(options());
        let header = b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 9990\r\nday\n";
        assert_eq!(
            send_from_proxy(&server, "192.0.2.7:40000", header).await,
            ""
        );
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::HeaderRejected],
                snapshot[Counter::ConnectionServed]
            ),
            (1, 0)
        );
    });
}

#[test]
fn t21_the_header_timeout_is_three_seconds() {
    run(async {
        let server = start_behind_proxies(options());
        let mut stream = server.connect_from(address("10.0.0.1:40000"));
        stream.write_all(b"PROXY TCP4").await.expect("sent");
        let start = Instant::now();
        assert_eq!(read_to_eof(&mut stream).await, "");
        assert_eq!(start.elapsed(), Duration::from_secs(3) + QUIET);
    });
}

#[test]
fn t21_an_oversized_header_is_rejected_at_once() {
    let text = [&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat();
    assert_eq!(text.len(), 107);
    let binary = binary_header(1, 0x11, &[0; 521])[..16].to_vec();
    run(async move {
        let server = start_behind_proxies(options());
        for header in [text, binary] {
            let mut stream = server.connect_from(address("10.0.0.1:40000"));
            stream.write_all(&header).await.expect("sent");
            let start = Instant::now();
            assert_eq!(read_to_eof(&mut stream).await, "");
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    });
}

#[test]
fn t21_limits_apply_to_the_client_address_not_the_proxy_address() {
    run(async {
        let options = Options {
            addresses: Some(Arc::new(Addresses::new(NonZero::<u32>::MIN))),
            networks: Networks {
                denied: networks(&["198.51.100.0/24"]),
                ..Networks::default()
            },
            ..options()
        };
        let server = start_behind_proxies(options);
        let connect = async |client: &str| {
            let mut stream = server.connect_from(address("10.0.0.1:40000"));
            let header = format!("PROXY TCP4 {client} 192.0.2.9 50000 9990\r\n");
            stream.write_all(header.as_bytes()).await.expect("sent");
            // The first byte distinguishes the welcome from the full notice.
            let mut byte = [0];
            let length = stream.read(&mut byte).await.expect("a byte or EOF");
            (length == 1).then_some((byte[0], stream))
        };
        let (first, _held) = connect("192.0.2.1").await.expect("the welcome");
        assert_eq!(first, b'W');
        let (refused, _) = connect("192.0.2.1").await.expect("the full notice");
        assert_eq!(refused, b'T');
        let (other, _) = connect("192.0.2.2").await.expect("the welcome");
        assert_eq!(other, b'W');
        assert!(connect("198.51.100.7").await.is_none());
    });
}

#[test]
fn t16_a_proxied_client_in_the_backlog_is_served() {
    run(async {
        let server = start_behind_proxies(options());
        let mut stream = server.connect_from(address("10.0.0.1:40000"));
        stream
            .write_all(b"PROXY UNKNOWN\r\n12\n")
            .await
            .expect("sent");
        let start = Instant::now();
        server.stop.cancel();
        assert_eq!(read_to_eof(&mut stream).await, format!("{WELCOME}3\n"));
        assert!(start.elapsed() <= QUIET * 3, "{:?}", start.elapsed());
    });
}

#[test]
fn t08_a_connection_over_the_per_address_limit_is_refused_in_text() {
    run(async {
        let options = Options {
            addresses: Some(Arc::new(Addresses::new(NonZero::<u32>::MIN))),
            ..options()
        };
        let server = InMemoryServer::start(options);
        let mut first = server.connect_from(address("192.0.2.1:2000"));
        first.read_exact(&mut [0; 22]).await.expect("the welcome");
        let mut second = server.connect_from(address("192.0.2.1:2001"));
        assert_eq!(read_to_eof(&mut second).await, FULL);
        drop((first, second));
        let mut third = server.connect_from(address("192.0.2.1:2002"));
        third.shutdown().await.expect("half-closed");
        assert_eq!(read_to_eof(&mut third).await, WELCOME);
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::ConnectionServed],
                snapshot[Counter::AddressRefused]
            ),
            (2, 1)
        );
    });
}

#[test]
fn clients_of_denied_networks_are_closed_and_their_datagrams_ignored() {
    run(async {
        let options = Options {
            networks: Networks {
                allowed: networks(&["192.0.2.0/24"]),
                denied: networks(&["192.0.2.128/25"]),
            },
            ..options()
        };
        let mut server = InMemoryServer::start(options);
        for (client, expected) in [
            ("192.0.2.1:2000", WELCOME),
            ("192.0.2.200:2000", ""),
            ("198.51.100.1:2000", ""),
        ] {
            server.send_datagram(b"day", address(client));
            let mut stream = server.connect_from(address(client));
            stream.shutdown().await.expect("half-closed");
            assert_eq!(read_to_eof(&mut stream).await, expected, "{client}");
        }
        assert_eq!(
            server.replies.recv().await.as_deref(),
            Some(&b"Saturday"[..])
        );
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::NetworkDenied],
                snapshot[Counter::DatagramAnswered],
                snapshot[Counter::DatagramIgnored]
            ),
            (2, 1, 2)
        );
    });
}

#[test]
fn t04_broadcasts_and_datagrams_from_ports_below_1024_are_ignored() {
    run(async {
        let server = InMemoryServer::start(options());
        for port in [0, 1, 7, 13, 1023] {
            server.send_datagram(b"day", SocketAddr::new([192, 0, 2, 1].into(), port));
        }
        let mut broadcast = Datagram::new(b"day", address("192.0.2.1:2000"));
        broadcast.is_unicast = false;
        server
            .requests
            .send(Ok(broadcast))
            .expect("the server receives");
        server.send_datagram(b"day", address("192.0.2.1:1024"));
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::DatagramIgnored],
                snapshot[Counter::DatagramAnswered]
            ),
            (6, 1)
        );
    });
}

#[test]
fn t03_a_spoofed_flood_is_answered_at_the_rate_plus_one_in_four() {
    run(async {
        let rate = RateLimit::new(NonZero::new(100).expect("not zero"));
        let options = Options {
            datagram_rate: Some(Arc::new(rate)),
            ..options()
        };
        let server = InMemoryServer::start(options);
        for _ in 0..1_000 {
            server.send_datagram(b"day", address("192.0.2.1:2000"));
            server.send_datagram(b"what?", address("192.0.2.1:2000"));
        }
        for _ in 0..100 {
            server.send_datagram(b"day", address("198.51.100.1:2000"));
        }
        while server.counters.snapshot()[Counter::DatagramIgnored] < 1_000
            || server.counters.snapshot()[Counter::DatagramAnswered] < 425
        {
            tokio::task::yield_now().await;
        }
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::DatagramAnswered],
                snapshot[Counter::DatagramLimited],
                snapshot[Counter::DatagramIgnored]
            ),
            (100 + 225 + 100, 675, 1_000)
        );
    });
}
