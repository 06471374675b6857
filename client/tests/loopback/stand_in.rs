//! Servers that stand in for the real one. Each lives until its client has gone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use chime_protocol::{Framing, Service, Session, Status};
use chrono::{NaiveDate, NaiveDateTime};

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

/// Serves one conversation by the protocol.
pub(crate) fn chime(service: Service, framing: Framing) -> SocketAddr {
    tcp(move |stream| converse(stream, Session::new(service, framing)))
}

/// Runs a session to its end. It reads nothing while a reply is on its way.
pub(crate) fn converse(mut stream: TcpStream, mut session: Session) {
    let (mut input, mut output) = (vec![0; 65536], [0; 4096]);
    let mut unread = 0..0;
    let mut is_ended = false;
    loop {
        let progress = match is_ended {
            false => session.advance(&input[unread.clone()], &mut output, now()),
            true => session.finish(&mut output, now()),
        };
        unread.start += progress.read;
        if stream.write_all(&output[..progress.written]).is_err() {
            return;
        }
        match progress.status {
            Status::OutputFull => {}
            Status::Closed => return,
            Status::NeedInput => {
                let length = stream.read(&mut input).unwrap_or(0);
                unread = 0..length;
                is_ended = length == 0;
            }
        }
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
