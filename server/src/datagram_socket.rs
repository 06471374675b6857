//! A real UDP socket that receives and sends in batches (`recvmmsg`, `sendmmsg`).

use std::io::ErrorKind::{ConnectionRefused, WouldBlock};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use chime_protocol::DATAGRAM_MAX;
use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage,
    recvmmsg, sendmmsg, setsockopt,
};
use tokio::io::Interest;
use tracing::debug;

use crate::{Datagram, Datagrams};

/// The most datagrams received per system call.
const BATCH_MAX: usize = 64;

/// The buffer for the control messages of one datagram: packet information, and those of options that an
/// inherited socket has set.
const CONTROL_BYTES: usize = 512;

/// A UDP socket whose replies have the request's destination as their source, on a wildcard socket too.
/// Otherwise the kernel could choose another address, and a connected client would drop the reply.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    socket: tokio::net::UdpSocket,
    is_wildcard: bool,
}

impl DatagramSocket {
    /// Sets the socket options for `address`. Call it before binding.
    pub(crate) fn prepare(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
        if address.ip().is_unspecified() {
            // On a dual-stack socket too: only this reveals whether an IPv4 datagram was broadcast.
            setsockopt(socket, Ipv4PacketInfo, &true)?;
            if address.is_ipv6() {
                setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
            }
        }
        Ok(())
    }

    /// Registers a bound, prepared socket with the current runtime.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket {
            is_wildcard: socket.local_addr()?.ip().is_unspecified(),
            socket: tokio::net::UdpSocket::from_std(socket)?,
        })
    }
}

impl Datagrams for DatagramSocket {
    async fn receive(&mut self, batch: &mut Vec<Datagram>) -> io::Result<()> {
        self.socket.readable().await?;
        let received = self.socket.try_io(Interest::READABLE, || {
            let mut blocks = [[0; DATAGRAM_MAX]; BATCH_MAX];
            let mut slices = blocks.each_mut().map(|block| [IoSliceMut::new(block)]);
            // Allocated per call: nix cannot reset the lengths that the kernel overwrites.
            let control = self.is_wildcard.then(|| vec![0; CONTROL_BYTES]);
            let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH_MAX, control);
            let fd = self.socket.as_raw_fd();
            let received = recvmmsg(fd, &mut headers, &mut slices, MsgFlags::empty(), None)?;
            let mut count = 0;
            batch.extend(
                received
                    .inspect(|_| count += 1)
                    .filter_map(|m| self.datagram(&m)),
            );
            match count < BATCH_MAX {
                // Drained: clears the readiness without another system call.
                true => Err(WouldBlock.into()),
                false => Ok(()),
            }
        });
        match received {
            // With IP_RECVERR, the kernel reports the ICMP error of an earlier reply here.
            Err(error) if [WouldBlock, ConnectionRefused].contains(&error.kind()) => Ok(()),
            received => received,
        }
    }

    async fn send(&mut self, batch: &[Datagram]) -> usize {
        let chunks = batch.chunk_by(|one, next| one.local == next.local);
        chunks.map(|chunk| self.send_from_one_address(chunk)).sum()
    }
}

impl DatagramSocket {
    /// Sends datagrams with the same `local` address, and returns how many were sent.
    fn send_from_one_address(&self, mut datagrams: &[Datagram]) -> usize {
        // The kernel rejects a control buffer that is longer than its message.
        let space = datagrams[0].local.map(|local| match local {
            IpAddr::V4(_) => cmsg_space!(in_pktinfo),
            IpAddr::V6(_) => cmsg_space!(in6_pktinfo),
        });
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(datagrams.len(), space);
        let (v4, v6);
        let control = match datagrams[0].local {
            // Interface 0: the routing table chooses it.
            Some(IpAddr::V4(address)) => {
                v4 = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr {
                        s_addr: u32::from_ne_bytes(address.octets()),
                    },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                Some(ControlMessage::Ipv4PacketInfo(&v4))
            }
            Some(IpAddr::V6(address)) => {
                v6 = in6_pktinfo {
                    ipi6_addr: in6_addr {
                        s6_addr: address.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                Some(ControlMessage::Ipv6PacketInfo(&v6))
            }
            None => None,
        };
        let (mut count, mut is_retry) = (0, false);
        while !datagrams.is_empty() {
            let payloads = datagrams.iter().map(Datagram::payload);
            let slices: Vec<_> = payloads.map(|payload| [IoSlice::new(payload)]).collect();
            let peers = datagrams.iter().map(|datagram| Some(datagram.peer.into()));
            let peers: Vec<Option<SockaddrStorage>> = peers.collect();
            let (fd, control) = (self.socket.as_raw_fd(), control.as_slice());
            match sendmmsg(
                fd,
                &mut headers,
                &slices,
                &peers,
                control,
                MsgFlags::empty(),
            ) {
                Ok(sent) => {
                    let sent = sent.count();
                    count += sent;
                    datagrams = &datagrams[sent..];
                    is_retry = false;
                }
                // With IP_RECVERR, this may be the ICMP error of an earlier datagram.
                Err(_) if !is_retry => is_retry = true,
                Err(error) => {
                    debug!("cannot send a reply to {}: {error}", datagrams[0].peer);
                    datagrams = &datagrams[1..];
                    is_retry = false;
                }
            }
        }
        count
    }

    /// Converts a received message; `None` if it has no peer address.
    fn datagram(&self, message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Datagram> {
        let peer = peer(message.address.as_ref()?)?;
        let payload = message.iovs().next().unwrap_or_default();
        let mut datagram = Datagram::new(payload, peer);
        let Ok(control) = message.cmsgs() else {
            // The control messages were truncated: on a wildcard socket this could be a broadcast.
            datagram.is_unicast = !self.is_wildcard;
            return Some(datagram);
        };
        for message in control {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    datagram.local = Some(address.into());
                    // The two differ for broadcast and multicast.
                    datagram.is_unicast = info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr;
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    // A dual-stack socket reports IPv4 both ways, and only IP_PKTINFO reveals broadcasts.
                    if address.to_ipv4_mapped().is_none() {
                        datagram.local = Some(address.into());
                        datagram.is_unicast = !address.is_multicast();
                    }
                }
                _ => {}
            }
        }
        Some(datagram)
    }
}

fn peer(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    let v4 = v4.map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| Some(SocketAddrV6::from(*address.as_sockaddr_in6()?).into()))
}
