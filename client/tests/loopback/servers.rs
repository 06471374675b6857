//! Real servers, and fake servers that run until their client closes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use chime_server::{ListenerConfig, Options, Sockets, Workers};
use chrono::{NaiveDate, NaiveDateTime};
use tokio_util::sync::CancellationToken;

pub(crate) const WELCOME: &[u8] = b"Welcome to the server\n";

/// Accepts one client at the returned address, and passes it to `serve`.
pub(crate) fn tcp(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    thread::spawn(move || serve(listener.accept().expect("a client connects").0));
    address
}

/// A server that sends `text` at once, and half-closes if `half_closes`.
pub(crate) fn sending(text: &'static [u8], half_closes: bool) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(text).expect("the client reads");
        if half_closes {
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("an open stream");
        }
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// A server that sends the welcome, and `text` as the reply to the first line.
pub(crate) fn replying(text: &'static [u8]) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).expect("a request");
        }
        let _ = stream.write_all(text);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// The delay before each byte of a slow writer.
pub(crate) const BYTE_INTERVAL: Duration = Duration::from_millis(100);

/// A server that sends the welcome, and writes `text` slowly as the reply to the first line.
pub(crate) fn replying_slowly(text: &'static [u8]) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        let mut byte = [0];
        while byte != *b"\n" && stream.read_exact(&mut byte).is_ok() {}
        write_slowly(&mut stream, text);
    })
}

/// A server that writes the welcome slowly.
pub(crate) fn welcoming_slowly() -> SocketAddr {
    tcp(|mut stream| write_slowly(&mut stream, WELCOME))
}

/// Writes `text` one byte at a time, until the client closes.
pub(crate) fn write_slowly(stream: &mut TcpStream, text: &[u8]) {
    for byte in text {
        thread::sleep(BYTE_INTERVAL);
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
    }
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Returns a TCP address without a listener.
pub(crate) fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket")
}

/// A real server with a fixed clock. It runs until the tests exit.
pub(crate) fn chime(service: Service, framing: Framing) -> SocketAddr {
    let localhost = (Ipv4Addr::LOCALHOST, 0).into();
    chime_at(localhost, service, framing).expect("a free port")
}

/// A real server at `address`; an error if this machine does not have that address.
pub(crate) fn chime_at(
    address: SocketAddr,
    service: Service,
    framing: Framing,
) -> io::Result<SocketAddr> {
    let config = ListenerConfig {
        service,
        framing,
        proxies: None,
    };
    let sockets = Sockets::bind(&[(address, config)], &[])?;
    let address = sockets.tcp_addresses().expect("bound sockets")[0];
    serve(sockets);
    Ok(address)
}

/// A real server over UDP.
pub(crate) fn chime_udp() -> SocketAddr {
    let sockets = Sockets::bind(&[], &[(Ipv4Addr::LOCALHOST, 0).into()]).expect("a free port");
    let address = sockets.udp_addresses().expect("bound sockets")[0];
    serve(sockets);
    address
}

/// A real server with TCP and UDP on the same port.
pub(crate) fn chime_tcp_and_udp() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("a bound socket");
        // The port may be in use for UDP: try another one.
        if let Ok(mut sockets) = Sockets::bind(&[], &[address]) {
            sockets
                .adopt_listener(tcp, ListenerConfig::default())
                .expect("a listener");
            serve(sockets);
            return address;
        }
    }
}

/// Starts a server, which runs until the token is cancelled or the tests exit.
fn serve(sockets: Sockets) -> (CancellationToken, Workers) {
    #[cfg(unix)]
    raise_descriptor_limit();
    // More than the concurrent connections of any test, and those closed but not yet noticed.
    let options = Options::new(now, NonZero::new(1000).expect("not zero"));
    let shutdown = CancellationToken::new();
    let workers = sockets.start(NonZero::<usize>::MIN, &options, &shutdown);
    (shutdown, workers.expect("started workers"))
}

/// Raises the soft limit of open files, since most servers run until the tests exit. On macOS the default is 256.
#[cfg(unix)]
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let wanted = hard.min(8192);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).expect("raised");
    }
}

/// A real server that can be stopped.
pub(crate) struct Chime {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    workers: Workers,
}

impl Chime {
    pub(crate) fn start() -> Chime {
        Chime::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Chime {
        let sockets =
            Sockets::bind(&[(address, ListenerConfig::default())], &[]).expect("a free port");
        let address = sockets.tcp_addresses().expect("bound sockets")[0];
        let (shutdown, workers) = serve(sockets);
        Chime {
            address,
            shutdown,
            workers,
        }
    }

    /// Shuts down gracefully, and waits until all connections are closed.
    pub(crate) fn stop(self) {
        self.shutdown.cancel();
        self.workers.join().expect("a clean shutdown");
    }
}

/// The datagrams sent in reply to one request.
pub(crate) type Replies = &'static [&'static [u8]];

/// A UDP server that sends the next of `replies` for each request, and nothing after the last.
pub(crate) fn udp(replies: &'static [Replies]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("a bound socket");
    thread::spawn(move || {
        for datagrams in replies {
            let (_, client) = socket.recv_from(&mut [0; 64]).expect("a request");
            for datagram in *datagrams {
                socket.send_to(datagram, client).expect("buffer space");
            }
        }
        // Keep the port in use until a further request arrives.
        let _ = socket.recv_from(&mut [0; 64]);
    });
    address
}

/// The fixed time of the servers, a Saturday.
fn now() -> NaiveDateTime {
    let date = NaiveDate::from_ymd_opt(2026, 11, 21).expect("a date");
    date.and_hms_micro_opt(6, 32, 6, 123_456).expect("a time")
}
