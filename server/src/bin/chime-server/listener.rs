//! A `[[listener]]` table of the configuration file.

use std::net::SocketAddr;

use chime_server::Offer;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::flags::{Flags, FramingName, ServiceName, network};

/// One address, and what is offered there.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Table", into = "Table")]
pub(crate) enum Listener {
    /// Serves TCP.
    Tcp {
        address: SocketAddr,
        /// What `--service` says, unless given.
        service: Option<ServiceName>,
        /// What `--framing` says, unless given.
        framing: Option<FramingName>,
        /// If given, the proxies of which one has to name the client of each connection.
        proxies: Option<Vec<Network>>,
    },
    /// Serves UDP.
    Udp { address: SocketAddr },
}

impl Listener {
    /// The address and the offer, if it serves TCP.
    pub(crate) fn tcp(&self, flags: &Flags) -> Option<(SocketAddr, Offer)> {
        let Listener::Tcp {
            address,
            service,
            framing,
            proxies,
        } = self
        else {
            return None;
        };
        let networks = |proxies: &Vec<Network>| proxies.iter().map(|network| network.0).collect();
        let offer = Offer {
            service: service.unwrap_or(flags.service).into(),
            framing: framing.unwrap_or(flags.framing).into(),
            proxies: proxies.as_ref().map(networks),
        };
        Some((*address, offer))
    }

    /// The address, if it serves UDP.
    pub(crate) fn udp(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp { .. } => None,
            Listener::Udp { address } => Some(*address),
        }
    }
}

/// The table as it is written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: SocketAddr,
    transport: Transport,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framing: Option<FramingName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxies: Option<Vec<Network>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Tcp,
    Udp,
}

impl TryFrom<Table> for Listener {
    type Error = &'static str;

    fn try_from(table: Table) -> Result<Listener, &'static str> {
        let Table {
            address,
            transport,
            service,
            framing,
            proxies,
        } = table;
        match transport {
            Transport::Tcp if proxies.as_ref().is_some_and(Vec::is_empty) => {
                Err("proxies must name a network, or be left out")
            }
            Transport::Tcp => Ok(Listener::Tcp {
                address,
                service,
                framing,
                proxies,
            }),
            Transport::Udp if service.is_some() || framing.is_some() || proxies.is_some() => {
                Err("service, framing and proxies are for tcp")
            }
            Transport::Udp => Ok(Listener::Udp { address }),
        }
    }
}

impl From<Listener> for Table {
    fn from(listener: Listener) -> Table {
        match listener {
            Listener::Tcp {
                address,
                service,
                framing,
                proxies,
            } => Table {
                address,
                transport: Transport::Tcp,
                service,
                framing,
                proxies,
            },
            Listener::Udp { address } => Table {
                address,
                transport: Transport::Udp,
                service: None,
                framing: None,
                proxies: None,
            },
        }
    }
}

/// A network, written as for `--allow`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Network(IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        network(&text)
            .map(Network)
            .map_err(|error| format!("'{text}': {error}"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.0.to_string()
    }
}
