//! Socket activation: sockets inherited from a service manager (`LISTEN_FDS`).

use std::io;
use std::net::{TcpListener, UdpSocket};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

/// The first inherited file descriptor, `SD_LISTEN_FDS_START`.
const FIRST_DESCRIPTOR: usize = 3;

/// The inherited sockets.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) udp: Vec<UdpSocket>,
}

impl InheritedSockets {
    /// Takes the sockets passed by `LISTEN_FDS`. It changes the environment, so call it before any other
    /// thread runs.
    ///
    /// # Errors
    ///
    /// If one is neither a TCP listener nor a UDP socket.
    pub(crate) fn take() -> io::Result<InheritedSockets> {
        let mut descriptors = ListenFd::from_env();
        let mut inherited = InheritedSockets::default();
        for index in 0..descriptors.len() {
            let listener = descriptors.take_tcp_listener(index);
            if let Some(listener) = listener.ok().flatten() {
                // A connected socket, as with `Accept=yes`, is not a listener.
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
        "cannot serve inherited file descriptor {descriptor}: neither a TCP listener nor a UDP socket"
    ))
}
