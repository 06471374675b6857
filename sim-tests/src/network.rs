//! Sockets on the simulated network, which do what real ones may do and turmoil's don't.

mod datagrams;
mod streams;

pub(crate) use datagrams::{Connected, DatagramSocket, UDP_PORT, server_datagram_address};
pub(crate) use streams::{Listener, Stream, connect};

/// The name of the server's host.
pub(crate) const SERVER: &str = "server";
