//! UDP: datagrams are lost, duplicated and corrupted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use turmoil::net::UdpSocket;

use super::hosts::SERVER;
use super::world::World;
use crate::scenario::Text;
use crate::trace::{DatagramEvent, EventKind, Peer, ServerEvent};

/// A socket for datagrams, which loses, duplicates and corrupts them, and records it. Clones share it, as the threads of
/// a process do.
///
/// On the simulated network a datagram begins with its number.
#[derive(Clone)]
pub struct DatagramSocket {
    inner: Rc<UdpSocket>,
    owner: Peer,
    world: Rc<World>,
}

/// A received datagram.
pub struct Received {
    /// What has arrived.
    pub bytes: Vec<u8>,
    /// The source address.
    pub from: SocketAddr,
    /// The destination address.
    pub to: SocketAddr,
}

/// The length at which a received datagram is truncated, with its number.
const PACKET_MAX: usize = 2048;

impl DatagramSocket {
    pub(super) async fn bind(
        world: &Rc<World>,
        port: u16,
        owner: Peer,
    ) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket {
            inner: Rc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?),
            owner,
            world: Rc::clone(world),
        })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.inner.local_addr()?.port())
    }

    /// Sends `bytes` to `to` with the source address `from`.
    ///
    /// The server receives all datagrams of the clients, whatever their destination. Its replies to an address that no
    /// client has are lost.
    ///
    /// # Errors
    ///
    /// The sends of a server may fail.
    pub async fn send(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        self.fail(ServerEvent::CannotSend)?;
        let chance = &self.world.chance;
        let datagram = self.number(bytes, from, to);
        let host = match self.owner {
            Peer::Client(_) => turmoil::lookup(SERVER),
            Peer::Server => to.ip(),
        };
        let is_nowhere =
            self.owner == Peer::Server && !self.world.clients.addresses.borrow().contains(&host);
        if is_nowhere || chance.happens(|network| network.loss_percent) {
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
        let destination = SocketAddr::new(host, to.port());
        self.inner
            .send_to(&packet(datagram, &arriving), destination)
            .await?;
        if chance.happens(|network| network.duplication_percent) {
            let duplicate = self.number(&arriving, from, to);
            self.record(datagram, DatagramEvent::Duplicated { duplicate });
            self.inner
                .send_to(&packet(duplicate, &arriving), destination)
                .await?;
        }
        Ok(())
    }

    /// Receives a datagram.
    ///
    /// # Errors
    ///
    /// The receives of a server may fail.
    pub async fn receive(&self) -> io::Result<Received> {
        self.fail(ServerEvent::CannotReceive)?;
        self.world.chance.let_others_run().await;
        let mut buffer = [0; PACKET_MAX];
        let (length, _) = self.inner.recv_from(&mut buffer).await?;
        Ok(self.received(&buffer[..length]))
    }

    /// Receives a datagram that has arrived already.
    pub fn try_receive(&self) -> Option<Received> {
        let mut buffer = [0; PACKET_MAX];
        let (length, _) = self.inner.try_recv_from(&mut buffer).ok()?;
        Some(self.received(&buffer[..length]))
    }

    /// Fails, as the operations of a server may.
    fn fail(&self, event: ServerEvent) -> io::Result<()> {
        let chance = &self.world.chance;
        match self.owner == Peer::Server && chance.happens(|network| network.datagram_error_percent)
        {
            true => {
                self.world.record(EventKind::Server(event));
                Err(io::Error::other("no buffer space available"))
            }
            false => Ok(()),
        }
    }

    fn number(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> usize {
        let datagram = self.world.add_datagram(from, to);
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

    fn received(&self, packet: &[u8]) -> Received {
        let (number, bytes) = packet.split_first_chunk().expect("it has a number");
        let datagram = usize::from_le_bytes(*number);
        let (from, to) = self.world.datagram(datagram);
        let by = self.owner;
        self.record(
            datagram,
            DatagramEvent::Received {
                by,
                from,
                bytes: bytes.into(),
            },
        );
        Received {
            bytes: bytes.to_vec(),
            from,
            to,
        }
    }

    fn record(&self, datagram: usize, event: DatagramEvent) {
        self.world.record(EventKind::Datagram { datagram, event });
    }
}

fn packet(datagram: usize, bytes: &[u8]) -> Vec<u8> {
    [&datagram.to_le_bytes(), bytes].concat()
}
