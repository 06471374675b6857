//! A real UDP socket that replies from the address that was asked.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use chime_protocol::DATAGRAM_MAX;
use nix::cmsg_space;
use nix::libc::in6_pktinfo;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use tokio::io::Interest;
use tracing::debug;

use crate::Datagrams;

/// Datagrams taken in a row before connections have their turn.
const BATCH: usize = 64;

/// A socket that is told with each datagram which of the machine's addresses it was sent to.
///
/// A socket bound to all addresses would otherwise reply from any of them, and a client that expects
/// its reply from the one it asked would never see it.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    socket: tokio::net::UdpSocket,
    /// Room for what the kernel tells of one datagram.
    control: Vec<u8>,
}

impl DatagramSocket {
    /// Sets the options that a socket for `address` needs before it is bound.
    pub(crate) fn prepare(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
        match address {
            SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
        }
        Ok(())
    }

    /// Puts a socket that was prepared and bound into the runtime.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket {
            socket: tokio::net::UdpSocket::from_std(socket)?,
            control: cmsg_space!(in6_pktinfo),
        })
    }
}

impl Datagrams for DatagramSocket {
    async fn exchange<A>(&mut self, mut answer: A) -> io::Result<()>
    where
        A: FnMut(&[u8], &mut [u8; DATAGRAM_MAX]) -> Option<usize>,
    {
        let DatagramSocket { socket, control } = self;
        socket.readable().await?;
        for _ in 0..BATCH {
            let exchanged = socket.try_io(Interest::READABLE, || {
                exchange_one(socket.as_raw_fd(), control, &mut answer)
            });
            match exchanged {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                exchanged => exchanged?,
            }
        }
        Ok(())
    }
}

/// Takes one datagram, and sends its reply if it has one.
fn exchange_one(
    socket: RawFd,
    control: &mut [u8],
    answer: &mut impl FnMut(&[u8], &mut [u8; DATAGRAM_MAX]) -> Option<usize>,
) -> io::Result<()> {
    let mut request = [0; DATAGRAM_MAX];
    let mut blocks = [IoSliceMut::new(&mut request)];
    let received =
        recvmsg::<SockaddrStorage>(socket, &mut blocks, Some(control), MsgFlags::empty())?;
    let asked = received.cmsgs()?.next();
    let (length, peer) = (received.bytes, received.address);

    let mut reply = [0; DATAGRAM_MAX];
    let Some(reply_length) = answer(&request[..length], &mut reply) else {
        return Ok(());
    };
    let blocks = [IoSlice::new(&reply[..reply_length])];
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket, &blocks, control, MsgFlags::empty(), peer.as_ref())
    };
    let sent = match asked {
        // The interface is left to the routes, which know the way back better.
        Some(ControlMessageOwned::Ipv4PacketInfo(mut asked)) => {
            asked.ipi_ifindex = 0;
            send(&[ControlMessage::Ipv4PacketInfo(&asked)])
        }
        Some(ControlMessageOwned::Ipv6PacketInfo(asked)) => {
            send(&[ControlMessage::Ipv6PacketInfo(&asked)])
        }
        _ => send(&[]),
    };
    if let Err(error) = sent {
        debug!("a reply was dropped: {error}");
    }
    Ok(())
}
