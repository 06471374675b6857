//! UDP: datagrams are lost, duplicated and corrupted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use tokio::task::coop::consume_budget;
use turmoil::net::UdpSocket;

use super::world::World;
use crate::scenario::Text;
use crate::trace::{DatagramEvent, EventKind, Peer, ServerEvent};

/// A socket for datagrams, which loses, duplicates and corrupts them, and records it.
///
/// On the simulated network a datagram begins with a header: its number and its source address.
pub struct DatagramSocket {
    inner: UdpSocket,
    owner: Peer,
    world: Rc<World>,
}

const HEADER_BYTES: usize = 14;

/// The length at which a received datagram is truncated, with its header.
const PACKET_MAX: usize = 2048;

impl DatagramSocket {
    pub(super) async fn bind(
        world: &Rc<World>,
        port: u16,
        owner: Peer,
    ) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket {
            inner: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
            owner,
            world: Rc::clone(world),
        })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.inner.local_addr()?.port())
    }

    /// Sends `bytes` to `to` with the source address `from`.
    pub async fn send(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        let chance = &self.world.chance;
        let datagram = self.number(bytes, from, to);
        if chance.happens(|network| network.loss_percent) {
            self.record(datagram, DatagramEvent::Lost);
            return Ok(());
        }
        let mut arriving = bytes.to_vec();
        if !bytes.is_empty() && chance.happens(|network| network.corruption_percent) {
            let index = chance.below(arriving.len());
            match chance.below(3) {
                0 => arriving.truncate(index),
                _ => arriving[index] ^= 1 << chance.below(8),
            }
            self.record(datagram, DatagramEvent::Corrupted(Text(arriving.clone())));
        }
        self.inner
            .send_to(&packet(datagram, from, &arriving), to)
            .await?;
        if chance.happens(|network| network.duplication_percent) {
            let duplicate = self.number(&arriving, from, to);
            self.record(datagram, DatagramEvent::Duplicated { duplicate });
            self.inner
                .send_to(&packet(duplicate, from, &arriving), to)
                .await?;
        }
        Ok(())
    }

    /// Receives a datagram; returns it with its source address. The receives of a server may fail.
    pub async fn receive(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        if self.owner == Peer::Server
            && self
                .world
                .chance
                .happens(|network| network.datagram_error_percent)
        {
            self.world
                .record(EventKind::Server(ServerEvent::CannotReceive));
            return Err(io::Error::other("no buffer space available"));
        }
        // Like a socket of tokio.
        consume_budget().await;
        let mut buffer = [0; PACKET_MAX];
        let (length, _) = self.inner.recv_from(&mut buffer).await?;
        Ok(self.received(&buffer[..length]))
    }

    /// Receives a datagram that has arrived already.
    pub fn try_receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
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
