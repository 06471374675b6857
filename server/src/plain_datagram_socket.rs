//! A real UDP socket for systems other than Linux, with one system call per datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use chime_protocol::DATAGRAM_MAX;
use tracing::debug;

use crate::{Datagram, Datagrams};

/// A UDP socket whose replies leave from an address that the system chooses.
///
/// On a wildcard socket, this may differ from the request's destination, and broadcast requests get
/// replies. So bind each address instead.
#[derive(Debug)]
pub(crate) struct DatagramSocket(tokio::net::UdpSocket);

impl DatagramSocket {
    /// Sets the socket options for `address`: none.
    pub(crate) fn prepare(_socket: &impl AsFd, _address: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    /// Registers a bound socket with the current runtime.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<DatagramSocket> {
        tokio::net::UdpSocket::from_std(socket).map(DatagramSocket)
    }
}

impl Datagrams for DatagramSocket {
    async fn receive(&mut self, batch: &mut Vec<Datagram>) -> io::Result<()> {
        let mut payload = [0; DATAGRAM_MAX];
        let (length, peer) = self.0.recv_from(&mut payload).await?;
        batch.push(Datagram::new(&payload[..length], peer));
        Ok(())
    }

    async fn send(&mut self, batch: &[Datagram]) -> usize {
        let sent = |datagram: &&Datagram| {
            let sent = self.0.try_send_to(datagram.payload(), datagram.peer);
            if let Err(error) = &sent {
                debug!("cannot send a reply to {}: {error}", datagram.peer);
            }
            sent.is_ok()
        };
        batch.iter().filter(sent).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_are_received_in_order_and_sent_to_their_peers() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port is bound");
        server
            .set_nonblocking(true)
            .expect("nonblocking mode is set");
        let address = server.local_addr().expect("the socket is bound");
        DatagramSocket::prepare(&server, address).expect("no options are set");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port is bound");
        client.connect(address).expect("the client connects");
        let mut socket = DatagramSocket::new(server).expect("a runtime is current");
        let mut batch = Vec::new();
        for request in ["one", "", "three"] {
            client
                .send(request.as_bytes())
                .expect("the request is sent");
            socket
                .receive(&mut batch)
                .await
                .expect("the request is received");
            assert_eq!(
                batch.last().map(Datagram::payload),
                Some(request.as_bytes())
            );
        }
        assert_eq!(socket.send(&batch).await, 3);
        let mut reply = [0; DATAGRAM_MAX];
        for expected in ["one", "", "three"] {
            let length = client.recv(&mut reply).expect("a reply arrives");
            assert_eq!(reply[..length], *expected.as_bytes());
        }
    }
}
