//! A real server, and others that stand in for one and live until their client has gone.

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

/// Gives one client that connects to the address to `serve`.
pub(crate) fn tcp(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || serve(listener.accept().expect("a client connects").0));
    address
}

/// Sends the same whatever the client does, and stops sending if `is_last`.
pub(crate) fn saying(text: &'static [u8], is_last: bool) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(text).expect("the client takes it");
        if is_last {
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("it is open");
        }
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// Welcomes, and sends the same in answer to the first line.
pub(crate) fn answering(text: &'static [u8]) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
        let mut byte = [0];
        while byte != *b"\n" {
            stream
                .read_exact(&mut byte)
                .expect("the client asks a line");
        }
        let _ = stream.write_all(text);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// How long a server waits before each byte that it drips.
pub(crate) const DRIP: Duration = Duration::from_millis(100);

/// Sends the welcome and, in answer to the first line, `text`, a byte at a time, until the client has gone.
pub(crate) fn dripping(text: &'static [u8]) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
        let mut byte = [0];
        while byte != *b"\n" && stream.read_exact(&mut byte).is_ok() {}
        drip(&mut stream, text);
    })
}

/// Sends the welcome a byte at a time, until the client has gone.
pub(crate) fn dripping_the_welcome() -> SocketAddr {
    tcp(|mut stream| drip(&mut stream, WELCOME))
}

/// Sends `text` a byte at a time, until the client has gone.
pub(crate) fn drip(stream: &mut TcpStream, text: &[u8]) {
    for byte in text {
        thread::sleep(DRIP);
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
    }
    let _ = stream.read_to_end(&mut Vec::new());
}

/// An address where no one is.
pub(crate) fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// A real server whose clock stands still. It lives for as long as the tests run.
pub(crate) fn chime(service: Service, framing: Framing) -> SocketAddr {
    let localhost = (Ipv4Addr::LOCALHOST, 0).into();
    chime_at(localhost, service, framing).expect("a free port")
}

/// A real server at an address that this machine may not have.
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
    let address = sockets.tcp_addresses().expect("they are bound")[0];
    serve(sockets);
    Ok(address)
}

/// A real server over UDP.
pub(crate) fn chime_over_udp() -> SocketAddr {
    let sockets = Sockets::bind(&[], &[(Ipv4Addr::LOCALHOST, 0).into()]).expect("a free port");
    let address = sockets.udp_addresses().expect("they are bound")[0];
    serve(sockets);
    address
}

/// A real server over TCP and UDP, at one port.
pub(crate) fn chime_over_both() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("it is bound");
        // Others may have this port for UDP.
        if let Ok(mut sockets) = Sockets::bind(&[], &[address]) {
            sockets
                .adopt_listener(tcp, ListenerConfig::default())
                .expect("a listener");
            serve(sockets);
            return address;
        }
    }
}

/// Serves for as long as the tests run, unless it is stopped before.
fn serve(sockets: Sockets) -> (CancellationToken, Workers) {
    // More than any test has at a time, with those that the server has yet to see closed.
    let options = Options::new(now, NonZero::new(1000).expect("not zero"));
    let stop = CancellationToken::new();
    let workers = sockets.start(NonZero::<usize>::MIN, &options, &stop);
    (stop, workers.expect("they start"))
}

/// A real server that can be stopped.
pub(crate) struct Chime {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    workers: Workers,
}

impl Chime {
    pub(crate) fn start() -> Chime {
        Chime::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Chime {
        let sockets =
            Sockets::bind(&[(address, ListenerConfig::default())], &[]).expect("a free port");
        let address = sockets.tcp_addresses().expect("they are bound")[0];
        let (stop, workers) = serve(sockets);
        Chime {
            address,
            stop,
            workers,
        }
    }

    /// Stops, and waits until nobody is connected.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        self.workers.join().expect("they end well");
    }
}

/// The datagrams that answer one request.
pub(crate) type Answers = &'static [&'static [u8]];

/// Answers each of the first requests with the next of `answers`, and no other.
pub(crate) fn udp(answers: &'static [Answers]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        for datagrams in answers {
            let (_, client) = socket.recv_from(&mut [0; 64]).expect("a request");
            for datagram in *datagrams {
                socket.send_to(datagram, client).expect("there is room");
            }
        }
        // The port stays taken for as long as the client may ask.
        let _ = socket.recv_from(&mut [0; 64]);
    });
    address
}

/// A Saturday.
fn now() -> NaiveDateTime {
    let date = NaiveDate::from_ymd_opt(2026, 11, 21).expect("a date");
    date.and_hms_micro_opt(6, 32, 6, 123_456).expect("a time")
}
