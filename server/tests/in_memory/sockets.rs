//! A server on a listener and a datagram socket in memory.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use chime_protocol::model::Script;
use chime_server::{
    Counter, CounterSnapshot, Counters, Datagram, Datagrams, Listener, ListenerConfig, Options,
    serve,
};
use chrono::NaiveDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{options, run};

pub(crate) const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1024));

/// Where no reply can be sent.
pub(crate) const UNREACHABLE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

pub(crate) const WELCOME: &str = "Welcome to the server\n";
pub(crate) const FULL: &str = "The server is full, please try again later\n";

/// Any stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection, and its peer.
pub(crate) type Accepted = (Box<dyn Stream>, SocketAddr);

/// The backlog is what a test has sent.
struct Backlog(UnboundedReceiver<io::Result<Accepted>>);

impl Listener for Backlog {
    type Stream = Box<dyn Stream>;

    async fn accept(&mut self) -> io::Result<Accepted> {
        match self.0.recv().await {
            Some(arrival) => arrival,
            None => pending().await,
        }
    }
}

/// Receives what a test sends it, and sends the replies to the test.
struct Mailbox {
    requests: UnboundedReceiver<io::Result<Datagram>>,
    replies: UnboundedSender<Vec<u8>>,
}

impl Datagrams for Mailbox {
    async fn receive(&mut self, batch: &mut Vec<Datagram>) -> io::Result<()> {
        match self.requests.recv().await {
            Some(request) => batch.push(request?),
            None => pending().await,
        }
        Ok(())
    }

    async fn send(&mut self, batch: &[Datagram]) -> usize {
        let sent = |reply: &&Datagram| {
            let is_reachable = reply.peer.ip() != UNREACHABLE;
            is_reachable && self.replies.send(reply.payload().to_vec()).is_ok()
        };
        batch.iter().filter(sent).count()
    }
}

/// A server in a task of its own, and the test's ends of its sockets.
pub(crate) struct Server {
    pub(crate) backlog: UnboundedSender<io::Result<Accepted>>,
    pub(crate) requests: UnboundedSender<io::Result<Datagram>>,
    pub(crate) replies: UnboundedReceiver<Vec<u8>>,
    pub(crate) stop: CancellationToken,
    pub(crate) counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(options: Options) -> Server {
        Server::with_config(ListenerConfig::default(), options)
    }

    pub(crate) fn with_config(config: ListenerConfig, options: Options) -> Server {
        let (backlog, accepted) = unbounded_channel();
        let (requests, mail) = unbounded_channel();
        let (reply_sender, replies) = unbounded_channel();
        let mailbox = Mailbox {
            requests: mail,
            replies: reply_sender,
        };
        let stop = CancellationToken::new();
        let counters = Arc::new(Counters::default());
        let serving = serve(
            vec![(Backlog(accepted), config)],
            vec![mailbox],
            options,
            Arc::clone(&counters),
            stop.clone(),
        );
        Server {
            backlog,
            requests,
            replies,
            stop,
            counters,
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

    /// Puts a connection into the backlog.
    pub(crate) fn accept(&self, stream: impl Stream + 'static, peer: SocketAddr) {
        let accepted: Accepted = (Box::new(stream), peer);
        self.backlog.send(Ok(accepted)).expect("the server accepts");
    }

    pub(crate) fn ask(&self, request: &[u8], from: SocketAddr) {
        self.requests
            .send(Ok(Datagram::new(request, from)))
            .expect("the server receives");
    }

    pub(crate) async fn converse(&self, requests: &str) -> String {
        let mut client = self.connect();
        client.write_all(requests.as_bytes()).await.expect("sent");
        client.shutdown().await.expect("half-closed");
        rest_of(&mut client).await
    }

    pub(crate) async fn ended(self) -> CounterSnapshot {
        self.task.await.expect("no panic");
        self.counters.snapshot()
    }

    pub(crate) async fn stop(self) -> CounterSnapshot {
        self.stop.cancel();
        self.ended().await
    }
}

pub(crate) async fn rest_of(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("ASCII");
    text
}

#[test]
fn t08_clients_over_the_limit_are_told_so_and_leave_room_for_none() {
    run(async {
        let server = Server::start(options());
        let mut clients = [server.connect(), server.connect()];
        for client in &mut clients {
            client.read_exact(&mut [0; 22]).await.expect("the welcome");
        }
        for _ in 0..100 {
            assert_eq!(server.converse("day\n").await, FULL);
        }
        drop(clients);
        assert_eq!(server.converse("1").await, "Welcome to the server\n1\n");
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
fn of_a_crowd_over_the_limit_some_are_told_and_all_are_closed() {
    run(async {
        let server = Server::start(options());
        let mut clients: Vec<_> = (0..1000).map(|_| server.connect()).collect();
        let start = Instant::now();
        let mut told = 0;
        for client in &mut clients[2..] {
            match rest_of(client).await.as_str() {
                FULL => told += 1,
                silence => assert_eq!(silence, ""),
            }
        }
        assert!(told >= 50, "only {told} of the crowd were told");
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_limit_is_shared_by_clones_of_the_options() {
    run(async {
        let options = options();
        let servers = [Server::start(options.clone()), Server::start(options)];
        let mut clients = [servers[0].connect(), servers[0].connect()];
        for client in &mut clients {
            client.read_exact(&mut [0; 22]).await.expect("the welcome");
        }
        assert_eq!(servers[1].converse("").await, FULL);
    });
}

#[test]
fn t13_a_listener_that_fails_for_a_while_accepts_again() {
    run(async {
        let server = Server::start(options());
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::Other] {
            for _ in 0..10 {
                server
                    .backlog
                    .send(Err(kind.into()))
                    .expect("the server accepts");
            }
        }
        let start = Instant::now();
        assert_eq!(server.converse("1").await, "Welcome to the server\n1\n");
        // It pauses for each error that may last, and for none that was of one connection.
        let jitter = Duration::from_millis(50) * 123_456 / 1_000_000;
        let pauses = (Duration::from_millis(100) + jitter) * 10;
        assert!(start.elapsed().abs_diff(pauses) < Duration::from_millis(20));
        assert_eq!(server.stop().await[Counter::AcceptFailed], 10);
    });
}

thread_local! {
    static IS_CLOCK_BROKEN: Cell<bool> = const { Cell::new(false) };
}

fn fragile_clock() -> NaiveDateTime {
    assert!(
        !IS_CLOCK_BROKEN.get(),
        "the clock is broken, as the test wants it"
    );
    Script::clock_at_start()
}

#[test]
fn t22_a_panic_ends_one_connection_and_is_counted() {
    run(async {
        let clock = fragile_clock;
        let server = Server::start(Options { clock, ..options() });
        let mut other = server.connect();
        other.read_exact(&mut [0; 22]).await.expect("the welcome");

        IS_CLOCK_BROKEN.set(true);
        assert_eq!(server.converse("day").await, "");
        IS_CLOCK_BROKEN.set(false);

        other.write_all(b"day\nquit\n").await.expect("sent");
        assert!(rest_of(&mut other).await.starts_with("Saturday\n"));
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
fn who_is_connected_at_the_stop_is_served() {
    run(async {
        let mut server = Server::start(options());
        let mut client = server.connect();
        client.write_all(b"day\nti").await.expect("sent");
        server.ask(b"day", PEER);
        // The server has not run yet: both are still waiting when it is told to stop.
        server.stop.cancel();
        assert_eq!(
            rest_of(&mut client).await,
            "Welcome to the server\nSaturday\n"
        );
        drop(client);
        assert_eq!(server.replies.recv().await, Some(b"Saturday".to_vec()));
        let snapshot = server.ended().await;
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
fn a_connection_that_does_not_end_is_cut_at_the_drain_timeout() {
    run(async {
        let server = Server::start(options());
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
fn a_datagram_socket_that_fails_for_a_while_answers_again() {
    run(async {
        let mut server = Server::start(options());
        let error = Err(io::ErrorKind::Other.into());
        server.requests.send(error).expect("the server receives");
        server.ask(b"", PEER);
        server.ask(b"time\n", PEER);
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
