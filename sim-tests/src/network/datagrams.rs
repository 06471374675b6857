//! Datagrams that get lost, doubled and changed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use chime_server::Datagram;
use tokio::task::coop::consume_budget;
use turmoil::net::UdpSocket;

use super::SERVER;
use crate::scenario::Text;
use crate::trace::{DatagramEvent, EventKind, Peer, ServerEvent};
use crate::world::World;

pub(crate) const UDP_PORT: u16 = 8089;

/// Datagrams that the server takes at a time.
const BATCH: usize = 16;

/// The address of the server, from anywhere in the simulation.
pub(crate) fn server_datagram_address() -> SocketAddr {
    (turmoil::lookup(SERVER), UDP_PORT).into()
}

/// A socket for datagrams, which loses, doubles and changes them as the scenario has it.
///
/// A datagram begins with its number and with whom it claims to be from, which no one but this sees.
pub(crate) struct DatagramSocket {
    inner: UdpSocket,
    owner: Peer,
    world: Rc<World>,
}

const HEADER_BYTES: usize = 14;

/// What is received of a datagram, at most.
const PACKET_MAX: usize = 2048;

impl DatagramSocket {
    /// The server's.
    pub(crate) async fn bind(world: &Rc<World>) -> io::Result<DatagramSocket> {
        DatagramSocket::bind_port(world, UDP_PORT, Peer::Server).await
    }

    /// A client's.
    pub(crate) async fn bind_client(world: &Rc<World>, client: usize) -> io::Result<Self> {
        DatagramSocket::bind_port(world, 0, Peer::Client(client)).await
    }

    async fn bind_port(world: &Rc<World>, port: u16, owner: Peer) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket {
            inner: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
            owner,
            world: Rc::clone(world),
        })
    }

    /// The address of this socket as others see it.
    pub(crate) fn address(&self, host: &str) -> io::Result<SocketAddr> {
        Ok((turmoil::lookup(host), self.inner.local_addr()?.port()).into())
    }

    /// Sends `bytes` to `to`, as if from `from`.
    pub(crate) async fn send(
        &self,
        bytes: &[u8],
        from: SocketAddr,
        to: SocketAddr,
    ) -> io::Result<()> {
        let network = self.world.network();
        let datagram = self.number(bytes, from, to);
        if self.world.happens(network.loss_percent) {
            self.record(datagram, DatagramEvent::Lost);
            return Ok(());
        }
        let mut arriving = bytes.to_vec();
        if !bytes.is_empty() && self.world.happens(network.corruption_percent) {
            let index = self.world.below(arriving.len());
            match self.world.below(3) {
                0 => arriving.truncate(index),
                _ => arriving[index] ^= 1 << self.world.below(8),
            }
            self.record(datagram, DatagramEvent::Corrupted(Text(arriving.clone())));
        }
        self.inner
            .send_to(&packet(datagram, from, &arriving), to)
            .await?;
        if self.world.happens(network.duplication_percent) {
            let duplicate = self.number(&arriving, from, to);
            self.record(datagram, DatagramEvent::Duplicated { duplicate });
            self.inner
                .send_to(&packet(duplicate, from, &arriving), to)
                .await?;
        }
        Ok(())
    }

    /// Receives a datagram and whom it claims to be from.
    pub(crate) async fn receive(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; PACKET_MAX];
        let (length, _) = self.inner.recv_from(&mut buffer).await?;
        Ok(self.received(&buffer[..length]))
    }

    /// A datagram that has come, if there is one.
    fn take_waiting(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; PACKET_MAX];
        let (length, _) = self.inner.try_recv_from(&mut buffer).ok()?;
        Some(self.received(&buffer[..length]))
    }

    fn number(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> usize {
        let datagram = self.world.next_datagram();
        let (by, bytes) = (self.owner, bytes.into());
        self.record(
            datagram,
            DatagramEvent::Sent {
                by,
                from,
                to,
                bytes,
            },
        );
        datagram
    }

    fn received(&self, packet: &[u8]) -> (Vec<u8>, SocketAddr) {
        let (header, bytes) = packet.split_at(HEADER_BYTES);
        let (datagram, from) = unpack(header);
        let by = self.owner;
        self.record(
            datagram,
            DatagramEvent::Received {
                by,
                from,
                bytes: bytes.into(),
            },
        );
        (bytes.to_vec(), from)
    }

    fn record(&self, datagram: usize, event: DatagramEvent) {
        self.world.record(EventKind::Datagram { datagram, event });
    }
}

fn packet(datagram: usize, from: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let IpAddr::V4(ip) = from.ip() else {
        unreachable!("the simulated network has addresses of version 4");
    };
    let mut packet = datagram.to_le_bytes().to_vec();
    packet.extend(ip.octets());
    packet.extend(from.port().to_le_bytes());
    packet.extend(bytes);
    packet
}

fn unpack(header: &[u8]) -> (usize, SocketAddr) {
    let (datagram, from) = header.split_at(8);
    let datagram = usize::from_le_bytes(datagram.try_into().expect("8 bytes"));
    let ip: [u8; 4] = from[..4].try_into().expect("4 bytes");
    let port = u16::from_le_bytes([from[4], from[5]]);
    (datagram, (ip, port).into())
}

impl chime_server::Datagrams for DatagramSocket {
    async fn receive(&mut self, batch: &mut Vec<Datagram>) -> io::Result<()> {
        if self
            .world
            .happens(self.world.network().datagram_error_percent)
        {
            self.world
                .record(EventKind::Server(ServerEvent::CannotReceive));
            return Err(io::Error::other("no buffer space available"));
        }
        // As a socket of tokio does.
        consume_budget().await;
        let mut received = Some(DatagramSocket::receive(self).await?);
        while let Some((request, peer)) = received {
            batch.push(Datagram::new(&request, peer));
            received = match batch.len() < BATCH {
                true => self.take_waiting(),
                false => None,
            };
        }
        Ok(())
    }

    async fn send(&mut self, batch: &[Datagram]) -> usize {
        let here = server_datagram_address();
        let mut count = 0;
        for reply in batch {
            let sent = DatagramSocket::send(self, reply.payload(), here, reply.peer).await;
            count += usize::from(sent.is_ok());
        }
        count
    }
}

/// A client's socket that sends to the server and receives from it alone.
pub(crate) struct Connected {
    socket: DatagramSocket,
    here: SocketAddr,
    server: SocketAddr,
}

impl Connected {
    pub(crate) fn new(socket: DatagramSocket, host: &str) -> io::Result<Connected> {
        Ok(Connected {
            here: socket.address(host)?,
            socket,
            server: server_datagram_address(),
        })
    }
}

impl chime_client::Datagrams for Connected {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram, self.here, self.server).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let (bytes, from) = self.socket.receive().await?;
            if from == self.server {
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                return Ok(length);
            }
        }
    }
}
