//! A real UDP socket where the system has no calls for many datagrams at a time: elsewhere than on Linux.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use chime_protocol::DATAGRAM_MAX;
use tracing::debug;

use crate::{Datagram, Datagrams};

/// Datagrams taken at a time.
const BATCH: usize = 64;

/// A socket whose replies leave from the address that the system chooses.
///
/// If it is bound to all addresses that may not be the one that was asked, and what was sent to all of a
/// network is answered too: bind each address.
#[derive(Debug)]
pub(crate) struct DatagramSocket(tokio::net::UdpSocket);

impl DatagramSocket {
    /// Sets the options that a socket for `address` needs before it is bound: none.
    pub(crate) fn prepare(_socket: &impl AsFd, _address: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    /// Puts a socket that was bound into the runtime.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<DatagramSocket> {
        tokio::net::UdpSocket::from_std(socket).map(DatagramSocket)
    }
}

impl Datagrams for DatagramSocket {
    async fn exchange<A>(&mut self, mut answer: A) -> io::Result<()>
    where
        A: FnMut(Datagram<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<usize>,
    {
        self.0.readable().await?;
        for _ in 0..BATCH {
            let mut request = [0; DATAGRAM_MAX];
            let (length, from) = match self.0.try_recv_from(&mut request) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let datagram = Datagram {
                bytes: &request[..length],
                from,
                is_for_host: true,
            };
            let mut reply = [0; DATAGRAM_MAX];
            if let Some(reply_length) = answer(datagram, &mut reply)
                && let Err(error) = self.0.try_send_to(&reply[..reply_length], from)
            {
                debug!("a reply was dropped: {error}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_datagrams_are_answered_at_a_time_and_others_ignored() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        DatagramSocket::prepare(&server, server.local_addr().expect("it is bound"))
            .expect("there is nothing to do");
        server.set_nonblocking(true).expect("it can be");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client
            .connect(server.local_addr().expect("it is bound"))
            .expect("an address");
        for request in ["ping", "what?", "ping", ""] {
            client.send(request.as_bytes()).expect("it is sent");
        }
        let mut socket = DatagramSocket::new(server).expect("a runtime");
        let mut requests = 0;
        while requests < 4 {
            let answer = |request: Datagram<'_>, reply: &mut [u8; DATAGRAM_MAX]| {
                requests += 1;
                reply[..4].copy_from_slice(b"pong");
                (request.bytes == b"ping").then_some(4)
            };
            socket.exchange(answer).await.expect("the socket works");
        }
        let mut reply = [0; DATAGRAM_MAX];
        for _ in 0..2 {
            let length = client.recv(&mut reply).expect("a reply");
            assert_eq!(reply[..length], *b"pong");
        }
        client.set_nonblocking(true).expect("it can be");
        let nothing = client.recv(&mut reply).expect_err("two were no requests");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
}
