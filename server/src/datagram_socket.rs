//! A real UDP socket that replies from the address that was asked, many datagrams a system call.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use chime_protocol::DATAGRAM_MAX;
use nix::cmsg_space;
use nix::libc::in6_pktinfo;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg,
    sendmmsg, setsockopt,
};
use tokio::io::Interest;
use tracing::debug;

use crate::{Datagram, Datagrams};

/// Datagrams taken at a time.
const BATCH: usize = 64;

/// A socket that is told with each datagram which of the machine's addresses it was sent to.
///
/// A socket bound to all addresses would otherwise reply from any of them, and a client that expects
/// its reply from the one it asked would never see it.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    socket: tokio::net::UdpSocket,
    received: MultiHeaders<SockaddrStorage>,
    sent: MultiHeaders<SockaddrStorage>,
}

impl DatagramSocket {
    /// Sets the options that a socket for `address` needs before it is bound.
    pub(crate) fn prepare(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
        if !address.ip().is_unspecified() {
            return Ok(());
        }
        match address {
            SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
        }
        Ok(())
    }

    /// Puts a socket that was prepared and bound into the runtime.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<DatagramSocket> {
        // Only a socket for all addresses is told which was asked.
        let is_told = socket.local_addr()?.ip().is_unspecified();
        let headers =
            || MultiHeaders::preallocate(BATCH, is_told.then(|| cmsg_space!(in6_pktinfo)));
        Ok(DatagramSocket {
            socket: tokio::net::UdpSocket::from_std(socket)?,
            received: headers(),
            sent: headers(),
        })
    }
}

impl Datagrams for DatagramSocket {
    async fn exchange<A>(&mut self, mut answer: A) -> io::Result<()>
    where
        A: FnMut(Datagram<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<usize>,
    {
        self.socket.readable().await?;
        let DatagramSocket {
            socket,
            received,
            sent,
        } = self;
        let exchanged = socket.try_io(Interest::READABLE, || {
            let mut replies = Vec::with_capacity(BATCH);
            let count = receive(socket.as_raw_fd(), received, &mut answer, &mut replies)?;
            for replies in replies.chunk_by(|one, next| one.from == next.from) {
                send(socket.as_raw_fd(), sent, replies);
            }
            match count < BATCH {
                // No need to ask the system: the next datagram makes the socket readable.
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        match exchanged {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            exchanged => exchanged,
        }
    }
}

/// A reply to be sent.
struct Reply {
    bytes: [u8; DATAGRAM_MAX],
    length: usize,
    to: Option<SockaddrStorage>,
    /// The address that was asked, if the socket was told.
    from: Option<ControlMessageOwned>,
}

/// Takes datagrams that wait, adds the replies of those that have one, and returns how many it took.
fn receive(
    socket: RawFd,
    headers: &mut MultiHeaders<SockaddrStorage>,
    answer: &mut impl FnMut(Datagram<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<usize>,
    replies: &mut Vec<Reply>,
) -> io::Result<usize> {
    let mut blocks = [[0; DATAGRAM_MAX]; BATCH];
    let mut slices = blocks.each_mut().map(|block| [IoSliceMut::new(block)]);
    let received = recvmmsg(socket, headers, &mut slices, MsgFlags::empty(), None)?;
    let mut count = 0;
    for datagram in received {
        count += 1;
        let asked = datagram.cmsgs()?.next();
        let Some(from) = datagram.address.as_ref().and_then(address) else {
            continue;
        };
        let request = Datagram {
            bytes: datagram.iovs().next().unwrap_or_default(),
            from,
            is_for_host: asked.as_ref().is_none_or(is_for_host),
        };
        let mut bytes = [0; DATAGRAM_MAX];
        if let Some(length) = answer(request, &mut bytes) {
            replies.push(Reply {
                bytes,
                length,
                to: datagram.address,
                from: asked,
            });
        }
    }
    Ok(count)
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddrV6::from(*v6).into())
    })
}

/// Whether the address that was asked is that of one host.
fn is_for_host(asked: &ControlMessageOwned) -> bool {
    match asked {
        // They differ if it was sent to all of a network, or to a group.
        ControlMessageOwned::Ipv4PacketInfo(asked) => {
            asked.ipi_addr.s_addr == asked.ipi_spec_dst.s_addr
        }
        ControlMessageOwned::Ipv6PacketInfo(asked) => asked.ipi6_addr.s6_addr[0] != 0xff,
        _ => true,
    }
}

/// Sends replies that all leave from the same address. One that can't be sent is dropped.
fn send(socket: RawFd, headers: &mut MultiHeaders<SockaddrStorage>, mut replies: &[Reply]) {
    let pktinfo;
    let control = match &replies[0].from {
        // The interface is left to the routes, which know the way back better.
        Some(ControlMessageOwned::Ipv4PacketInfo(asked)) => {
            pktinfo = nix::libc::in_pktinfo {
                ipi_ifindex: 0,
                ..*asked
            };
            Some(ControlMessage::Ipv4PacketInfo(&pktinfo))
        }
        Some(ControlMessageOwned::Ipv6PacketInfo(asked)) => {
            Some(ControlMessage::Ipv6PacketInfo(asked))
        }
        _ => None,
    };
    while !replies.is_empty() {
        let slices: Vec<_> = replies
            .iter()
            .map(|reply| [IoSlice::new(&reply.bytes[..reply.length])])
            .collect();
        let addresses: Vec<_> = replies.iter().map(|reply| reply.to).collect();
        let sent = sendmmsg(
            socket,
            headers,
            &slices,
            addresses,
            control.as_slice(),
            MsgFlags::empty(),
        );
        let done = match sent {
            Ok(sent) => sent.count(),
            Err(error) => {
                debug!("a reply was dropped: {error}");
                1
            }
        };
        replies = &replies[done.max(1)..];
    }
}
