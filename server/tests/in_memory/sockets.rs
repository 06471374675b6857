//! A server on an in-memory listener and datagram socket: connection limits, errors and panics.

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chime_model::Script;
use chime_server::{
    Clock, Counter, CounterReader, CounterSnapshot, Counters, Datagram, Datagrams, Listener,
    ListenerConfig, Options, serve,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{options, run};

pub(crate) const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1024));

/// An address to which sending fails.
pub(crate) const UNREACHABLE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

pub(crate) const WELCOME: &str = "Welcome to the server\n";
pub(crate) const FULL: &str = "The server is full, please try again later\n";

/// Any stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection and its peer address.
pub(crate) type Accepted = (Box<dyn Stream>, SocketAddr);

/// A listener whose backlog is a channel.
struct Backlog(UnboundedReceiver<io::Result<Accepted>>);

impl Listener for Backlog {
    type Stream = Box<dyn Stream>;

    async fn accept(&mut self) -> io::Result<Accepted> {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => pending().await,
        }
    }
}

/// A datagram socket made of two channels.
struct DatagramChannels {
    requests: UnboundedReceiver<io::Result<Datagram>>,
    replies: UnboundedSender<Vec<u8>>,
}

impl Datagrams for DatagramChannels {
    async fn receive(&mut self, batch: &mut Vec<Datagram>) -> io::Result<()> {
        match self.requests.recv().await {
            Some(request) => batch.push(request?),
            None => pending().await,
        }
        Ok(())
    }

    async fn send(&mut self, batch: &[Datagram]) -> usize {
        let send = |reply: &&Datagram| {
            let is_reachable = reply.peer.ip() != UNREACHABLE;
            is_reachable && self.replies.send(reply.payload().to_vec()).is_ok()
        };
        batch.iter().filter(send).count()
    }
}

/// A server in its own task, and the test's ends of its sockets.
pub(crate) struct InMemoryServer {
    pub(crate) backlog: UnboundedSender<io::Result<Accepted>>,
    pub(crate) requests: UnboundedSender<io::Result<Datagram>>,
    pub(crate) replies: UnboundedReceiver<Vec<u8>>,
    pub(crate) stop: CancellationToken,
    pub(crate) counters: CounterReader,
    task: JoinHandle<()>,
}

impl InMemoryServer {
    pub(crate) fn start(options: Options) -> InMemoryServer {
        InMemoryServer::with_config(ListenerConfig::default(), options)
    }

    pub(crate) fn with_config(config: ListenerConfig, options: Options) -> InMemoryServer {
        let (backlog, accepted) = unbounded_channel();
        let (requests, received) = unbounded_channel();
        let (sent, replies) = unbounded_channel();
        let datagrams = DatagramChannels {
            requests: received,
            replies: sent,
        };
        let stop = CancellationToken::new();
        let counters = Counters::default();
        let reader = counters.reader();
        let serving = serve(
            vec![(Backlog(accepted), config)],
            vec![datagrams],
            options,
            counters,
            stop.clone(),
        );
        InMemoryServer {
            backlog,
            requests,
            replies,
            stop,
            counters: reader,
            task: spawn_local(serving),
        }
    }

    pub(crate) fn connect(&self) -> DuplexStream {
        self.connect_from(PEER)
    }

    pub(crate) fn connect_from(&self, peer: SocketAddr) -> DuplexStream {
        let (client, server) = duplex(1024);
        self.accept(server, peer);
        client
    }

    /// Adds a connection to the backlog.
    pub(crate) fn accept(&self, stream: impl Stream + 'static, peer: SocketAddr) {
        let accepted: Accepted = (Box::new(stream), peer);
        self.backlog.send(Ok(accepted)).expect("the server accepts");
    }

    pub(crate) fn send_datagram(&self, request: &[u8], from: SocketAddr) {
        self.requests
            .send(Ok(Datagram::new(request, from)))
            .expect("the server receives");
    }

    pub(crate) async fn replies_to(&self, requests: &str) -> String {
        let mut client = self.connect();
        client.write_all(requests.as_bytes()).await.expect("sent");
        client.shutdown().await.expect("half-closed");
        read_to_eof(&mut client).await
    }

    pub(crate) async fn join(self) -> CounterSnapshot {
        self.task.await.expect("no panic");
        self.counters.snapshot()
    }

    pub(crate) async fn stop(self) -> CounterSnapshot {
        self.stop.cancel();
        self.join().await
    }
}

pub(crate) async fn read_to_eof(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("ASCII");
    text
}

#[test]
fn t08_refused_connections_take_no_permit() {
    run(async {
        let server = InMemoryServer::start(options());
        let mut clients = [server.connect(), server.connect()];
        for client in &mut clients {
            client.read_exact(&mut [0; 22]).await.expect("the welcome");
        }
        for _ in 0..100 {
            assert_eq!(server.replies_to("day\n").await, FULL);
        }
        drop(clients);
        assert_eq!(server.replies_to("1").await, "Welcome to the server\n1\n");
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::ConnectionServed],
                snapshot[Counter::ConnectionRefused]
            ),
            (3, 100)
        );
    });
}

#[test]
fn connections_far_over_the_limit_are_closed_at_once() {
    run(async {
        let server = InMemoryServer::start(options());
        let mut clients: Vec<_> = (0..1000).map(|_| server.connect()).collect();
        let start = Instant::now();
        let mut refused_in_text = 0;
        for client in &mut clients[2..] {
            match read_to_eof(client).await.as_str() {
                FULL => refused_in_text += 1,
                text => assert_eq!(text, ""),
            }
        }
        assert!(refused_in_text >= 50, "{refused_in_text} of 998");
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_limit_is_shared_by_clones_of_the_options() {
    run(async {
        let options = options();
        let servers = [
            InMemoryServer::start(options.clone()),
            InMemoryServer::start(options),
        ];
        let mut clients = [servers[0].connect(), servers[0].connect()];
        for client in &mut clients {
            client.read_exact(&mut [0; 22]).await.expect("the welcome");
        }
        assert_eq!(servers[1].replies_to("").await, FULL);
    });
}

#[test]
fn t13_accept_resumes_after_errors() {
    run(async {
        let server = InMemoryServer::start(options());
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::Other] {
            for _ in 0..10 {
                server
                    .backlog
                    .send(Err(kind.into()))
                    .expect("the server accepts");
            }
        }
        let start = Instant::now();
        assert_eq!(server.replies_to("1").await, "Welcome to the server\n1\n");
        // It pauses after each error of the listener, and not after errors of one connection.
        let jitter = Duration::from_millis(50) * 123_456 / 1_000_000;
        let pauses = (Duration::from_millis(100) + jitter) * 10;
        assert!(start.elapsed().abs_diff(pauses) < Duration::from_millis(20));
        assert_eq!(server.stop().await[Counter::AcceptFailed], 10);
    });
}

#[test]
fn t22_a_panic_ends_one_connection_and_is_counted() {
    run(async {
        let panics = Arc::new(AtomicBool::new(false));
        let clock_panics = Arc::clone(&panics);
        let clock = Clock::new(move || {
            let panics = clock_panics.load(Ordering::Relaxed);
            assert!(!panics, "the panic that the test injects");
            Script::clock_at_start()
        });
        let server = InMemoryServer::start(Options { clock, ..options() });
        let mut other = server.connect();
        other.read_exact(&mut [0; 22]).await.expect("the welcome");

        panics.store(true, Ordering::Relaxed);
        assert_eq!(server.replies_to("day").await, "");
        panics.store(false, Ordering::Relaxed);

        other.write_all(b"day\nquit\n").await.expect("sent");
        assert!(read_to_eof(&mut other).await.starts_with("Saturday\n"));
        drop(other);
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::ConnectionServed],
                snapshot[Counter::ConversationEnded],
                snapshot[Counter::ConversationPanicked]
            ),
            (2, 1, 1)
        );
    });
}

#[test]
fn connections_and_datagrams_queued_at_shutdown_are_served() {
    run(async {
        let mut server = InMemoryServer::start(options());
        let mut client = server.connect();
        client.write_all(b"day\nti").await.expect("sent");
        server.send_datagram(b"day", PEER);
        // The server task has not run yet: both are queued when the shutdown begins.
        server.stop.cancel();
        assert_eq!(
            read_to_eof(&mut client).await,
            "Welcome to the server\nSaturday\n"
        );
        drop(client);
        assert_eq!(server.replies.recv().await, Some(b"Saturday".to_vec()));
        let snapshot = server.join().await;
        assert_eq!(
            (
                snapshot[Counter::ConnectionServed],
                snapshot[Counter::DatagramAnswered]
            ),
            (1, 1)
        );
    });
}

#[test]
fn a_connection_with_unread_replies_is_cut_at_the_drain_timeout() {
    run(async {
        let server = InMemoryServer::start(options());
        let mut client = server.connect();
        let sender = spawn_local(async move { client.write_all(&[b'\n'; 100_000]).await });
        tokio::task::yield_now().await;
        let start = Instant::now();
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::ConnectionServed],
                snapshot[Counter::ConversationCut]
            ),
            (1, 1)
        );
        assert_eq!(start.elapsed(), options().drain_timeout);
        assert!(sender.await.expect("no panic").is_err());
    });
}

#[test]
fn datagrams_are_answered_after_a_receive_error() {
    run(async {
        let mut server = InMemoryServer::start(options());
        let error = Err(io::ErrorKind::Other.into());
        server.requests.send(error).expect("the server receives");
        server.send_datagram(b"", PEER);
        server.send_datagram(b"time\n", PEER);
        let start = Instant::now();
        assert_eq!(server.replies.recv().await, Some(b"06:32:06\n".to_vec()));
        assert_eq!(start.elapsed(), Duration::from_millis(100));
        let snapshot = server.stop().await;
        assert_eq!(
            (
                snapshot[Counter::DatagramAnswered],
                snapshot[Counter::DatagramIgnored]
            ),
            (1, 1)
        );
    });
}
