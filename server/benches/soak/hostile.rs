//! Hostile clients: their replies are not checked, but the server must close their connections.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use socket2::SockRef;

use crate::Target;
use crate::counters::Counters;

/// Timeout of one read or write, after which a client checks whether the soak is over.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);

fn open(target: Target, counters: &Counters) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target.tcp)?;
    stream.set_read_timeout(Some(POLL_TIMEOUT))?;
    stream.set_write_timeout(Some(POLL_TIMEOUT))?;
    counters.connections.add(1);
    Ok(stream)
}

/// Opens a connection and repeats `act` until it fails, as the server has closed the connection.
fn act_until_closed(
    target: Target,
    counters: &Counters,
    mut act: impl FnMut(&mut TcpStream) -> io::Result<()>,
) {
    let Ok(mut stream) = open(target, counters) else {
        return;
    };
    while !target.is_over() {
        if act(&mut stream).is_err() {
            return counters.faults.add(1);
        }
    }
}

/// Reads once, and discards the bytes. A timeout is not an error, EOF is.
fn read_once(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0; 1024]) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// A slow writer: sends an endless line, one byte at a time.
pub(crate) fn write_slowly(target: Target, counters: &Counters) {
    act_until_closed(target, counters, |stream| {
        stream.write_all(b"1")?;
        read_once(stream)
    });
}

/// Sends requests and never reads.
pub(crate) fn never_read(target: Target, counters: &Counters) {
    let requests = b"send time\n".repeat(1_000);
    act_until_closed(target, counters, |stream| match stream.write(&requests) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    });
}

/// Sends random bytes and resets the connection.
pub(crate) fn reset(target: Target, counters: &Counters) {
    let Ok(mut stream) = open(target, counters) else {
        return;
    };
    let bytes: Vec<u8> = (0..fastrand::usize(..100))
        .map(|_| fastrand::u8(..))
        .collect();
    // The server may refuse the connection.
    let _ = stream.write_all(&bytes);
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
    counters.faults.add(1);
    sleep(Duration::from_millis(fastrand::u64(..20)));
}

/// Sends nothing.
pub(crate) fn stay_idle(target: Target, counters: &Counters) {
    act_until_closed(target, counters, read_once);
}

/// Sends invalid datagrams. A reply to one counts as wrong.
pub(crate) fn send_invalid_datagrams(target: Target, counters: &Counters) {
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0") else {
        return;
    };
    for _ in 0..100 {
        let mut bytes: Vec<u8> = (0..fastrand::usize(..2_000))
            .map(|_| fastrand::u8(..))
            .collect();
        bytes.insert(0, b'#');
        counters.requests.add(1);
        let _ = socket.send_to(&bytes, target.udp);
    }
    let is_answered = socket.set_nonblocking(true).is_ok() && socket.recv(&mut [0]).is_ok();
    counters.wrong.add(is_answered.into());
    sleep(Duration::from_millis(10));
}
