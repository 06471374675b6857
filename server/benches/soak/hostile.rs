//! Clients that want something else than answers. What becomes of them does not matter, but that the server
//! gets rid of them.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use socket2::SockRef;

use crate::Site;
use crate::figures::Figures;

/// How long such a client looks for its end before it looks whether the soak is over.
const GLANCE: Duration = Duration::from_millis(500);

fn open(site: Site, figures: &Figures) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(site.tcp)?;
    stream.set_read_timeout(Some(GLANCE))?;
    stream.set_write_timeout(Some(GLANCE))?;
    figures.connections.add(1);
    Ok(stream)
}

/// Does something on a connection again and again, until the server has closed it.
fn pester(site: Site, figures: &Figures, mut act: impl FnMut(&mut TcpStream) -> io::Result<()>) {
    let Ok(mut stream) = open(site, figures) else {
        return;
    };
    while site.is_open() {
        if act(&mut stream).is_err() {
            return figures.faults.add(1);
        }
    }
}

/// Reads what there is, for a short while; fails at the end of the connection.
fn glance(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0; 1024]) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// Begins a line that does not end, a byte at a time.
pub(crate) fn drip(site: Site, figures: &Figures) {
    pester(site, figures, |stream| {
        stream.write_all(b"1")?;
        glance(stream)
    });
}

/// Asks and never reads.
pub(crate) fn take_no_replies(site: Site, figures: &Figures) {
    let requests = b"send time\n".repeat(1_000);
    pester(site, figures, |stream| match stream.write(&requests) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    });
}

/// Asks something and resets the connection.
pub(crate) fn reset(site: Site, figures: &Figures) {
    let Ok(mut stream) = open(site, figures) else {
        return;
    };
    let bytes: Vec<u8> = (0..fastrand::usize(..100))
        .map(|_| fastrand::u8(..))
        .collect();
    // Whatever comes of it.
    let _ = stream.write_all(&bytes);
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
    figures.faults.add(1);
    sleep(Duration::from_millis(fastrand::u64(..20)));
}

/// Holds a connection.
pub(crate) fn say_nothing(site: Site, figures: &Figures) {
    pester(site, figures, glance);
}

/// Sends datagrams that are no requests.
pub(crate) fn send_junk_datagrams(site: Site, figures: &Figures) {
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0") else {
        return;
    };
    for _ in 0..100 {
        let mut bytes: Vec<u8> = (0..fastrand::usize(..2_000))
            .map(|_| fastrand::u8(..))
            .collect();
        bytes.insert(0, b'#');
        figures.requests.add(1);
        let _ = socket.send_to(&bytes, site.udp);
    }
    let is_answered = socket.set_nonblocking(true).is_ok() && socket.recv(&mut [0]).is_ok();
    figures.wrong.add(is_answered.into());
    sleep(Duration::from_millis(10));
}
