//! Sockets that the process inherits from a service manager.

use std::io;
use std::net::{TcpListener, UdpSocket};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

/// The first file descriptor that is passed on, by the protocol of `LISTEN_FDS`.
const FIRST_DESCRIPTOR: usize = 3;

/// What was inherited.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) udp: Vec<UdpSocket>,
}

impl Inherited {
    /// Takes the sockets that `LISTEN_FDS` tells of. It changes the environment, so no other thread
    /// may run yet.
    pub(crate) fn take() -> io::Result<Inherited> {
        let mut descriptors = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for index in 0..descriptors.len() {
            let listener = descriptors.take_tcp_listener(index);
            if let Some(listener) = listener.ok().flatten() {
                // One that is connected, as of `Accept=yes`, cannot be served.
                if !getsockopt(&listener, sockopt::AcceptConn)? {
                    return Err(unusable(index));
                }
                inherited.tcp.push(listener);
                continue;
            }
            match descriptors.take_udp_socket(index) {
                Ok(Some(socket)) => inherited.udp.push(socket),
                _ => return Err(unusable(index)),
            }
        }
        Ok(inherited)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }
}

fn unusable(index: usize) -> io::Error {
    let descriptor = FIRST_DESCRIPTOR + index;
    io::Error::other(format!(
        "the inherited file descriptor {descriptor} is neither a TCP listener nor a UDP socket"
    ))
}
