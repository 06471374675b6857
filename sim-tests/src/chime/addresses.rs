//! The address rules of the server, stated naively: on the bits of addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::generate::ADDRESSES;
use super::{Form, Header, Listener, Server, Target};

/// The bits of the addresses and networks that are compared: those of version 4 in their IPv4-mapped form.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn is_v4(bits: u128) -> bool {
    bits >> 32 == 0xffff
}

/// Whether a network contains an address. A network of version 6 does not contain those of version 4, unless it is a
/// network of IPv4-mapped addresses.
fn contains(network: &IpNet, address: IpAddr) -> bool {
    let length = match network {
        IpNet::V4(network) => network.prefix_len() + 96,
        IpNet::V6(network) => network.prefix_len(),
    };
    let (network, address) = (bits(network.addr()), bits(address));
    let is_same_version = is_v4(address) == (length >= 96 && is_v4(network));
    is_same_version && (network ^ address).leading_zeros() >= length.into()
}

/// The unit of a limit: this address without its last `v4` or `v6` bits.
fn unit(address: IpAddr, v4: u32, v6: u32) -> u128 {
    let bits = bits(address);
    let length = if is_v4(bits) { v4 } else { v6 };
    bits >> length << length
}

/// What counts as one address for the limit on connections.
pub(super) fn connection_unit(address: IpAddr) -> u128 {
    unit(address, 0, 64)
}

/// What counts as one network for the rate limit on datagrams.
pub(super) fn datagram_unit(address: IpAddr) -> u128 {
    unit(address, 8, 72)
}

impl Server {
    /// Whether clients with this address are served.
    pub fn serves(&self, client: IpAddr) -> bool {
        let is_among = |networks: &[IpNet]| networks.iter().any(|it| contains(it, client));
        (self.allowed.is_empty() || is_among(&self.allowed)) && !is_among(&self.denied)
    }
}

impl Server {
    /// Where a client with this address is served, if it is.
    pub(super) fn target_for(&self, client: IpAddr) -> Option<Target> {
        (0..).zip(&self.listeners).find_map(|(number, listener)| {
            let header = match listener.is_proxied() {
                false if self.serves(client) => None,
                true if listener.trusts(client) => Some(self.header()?),
                _ => return None,
            };
            Some(Target {
                listener: number,
                header,
            })
        })
    }

    /// A PROXY header with the address of a client that is served.
    fn header(&self) -> Option<Header> {
        let clients = ADDRESSES.map(|address| address.parse().expect("an address"));
        Some(Header {
            form: Form::V1,
            client: clients.into_iter().find(|client| self.serves(*client))?,
            cuts: 0,
            pause_ms: 0,
            is_joined: false,
        })
    }
}

impl Listener {
    /// Whether each connection has to begin with a PROXY header.
    pub(super) fn is_proxied(&self) -> bool {
        !self.proxies.is_empty()
    }

    /// Whether connections from this address may begin with a PROXY header.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|network| contains(network, peer))
    }
}
