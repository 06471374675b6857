//! A UDP socket: each request and each reply is a datagram.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::event::Source;
use mio::net::UdpSocket;

use super::{Link, Received, Target};

/// The most datagrams received in a row before other sockets are served.
const DATAGRAMS_MAX: usize = 256;

/// A UDP socket: each request and each reply is a datagram.
#[derive(Debug)]
pub(crate) struct UdpLink {
    socket: UdpSocket,
    requests_left: u64,
    replies_due: u64,
}

impl Link for UdpLink {
    const MAY_LOSE: bool = true;

    fn open(target: &Target) -> io::Result<UdpLink> {
        let any: SocketAddr = match target.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target.address)?;
        Ok(UdpLink {
            socket,
            requests_left: 0,
            replies_due: 0,
        })
    }

    fn source(&mut self) -> &mut impl Source {
        &mut self.socket
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn receive(&mut self, _: bool, buffer: &mut [u8], _: &Target) -> Received {
        let mut received = Received::default();
        for _ in 0..DATAGRAMS_MAX {
            match self.socket.recv(buffer) {
                Ok(length) => {
                    received.bytes += length as u64;
                    // A datagram beyond the replies due is a duplicate.
                    let replies = self.replies_due.min(1);
                    self.replies_due -= replies;
                    received.replies += replies;
                    if replies > 0 && self.replies_due == 0 {
                        return received;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return received,
                Err(error) => {
                    received.end = Some(error.into());
                    return received;
                }
            }
        }
        received.has_more = true;
        received
    }

    fn queue(&mut self, requests: u64, _: &Target) {
        self.requests_left += requests;
        self.replies_due += requests;
    }

    fn flush(&mut self, target: &Target) -> io::Result<u64> {
        let mut written = 0;
        while self.requests_left > 0 {
            match self.socket.send(&target.block) {
                Ok(length) => {
                    self.requests_left -= 1;
                    written += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}
