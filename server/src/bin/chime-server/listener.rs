//! A `[[listener]]` table of the configuration file.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use chime_protocol::{Framing, Service};
use chime_server::ListenerConfig;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::flags::{self, Flags, NetworkArg};

/// An address to serve, and its configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    #[serde(deserialize_with = "address")]
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    /// Overrides `--service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Text<Service>>,
    /// Overrides `--framing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    framing: Option<Text<Framing>>,
    /// The trusted proxies. If set, each connection must begin with a PROXY header from one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    proxies: Option<Vec<Text<NetworkArg>>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// Parses an address as on the command line.
fn address<'de, D: Deserializer<'de>>(value: D) -> Result<SocketAddr, D::Error> {
    flags::address(&String::deserialize(value)?).map_err(de::Error::custom)
}

impl Listener {
    /// Rejects conflicting keys.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let has_tcp_keys =
            self.service.is_some() || self.framing.is_some() || self.proxies.is_some();
        if self.proxies.as_ref().is_some_and(Vec::is_empty) {
            return Err("proxies must name a network, or be left out");
        }
        if self.transport == Transport::Udp && has_tcp_keys {
            return Err("service, framing and proxies are for tcp");
        }
        Ok(())
    }

    /// Returns the configuration of a TCP listener.
    pub(crate) fn listener_config(&self, flags: &Flags) -> ListenerConfig {
        let networks =
            |proxies: &Vec<Text<NetworkArg>>| proxies.iter().map(|text| text.0.0).collect();
        ListenerConfig {
            service: self.service.map_or(flags.service, |text| text.0),
            framing: self.framing.map_or(flags.framing, |text| text.0),
            proxies: self.proxies.as_ref().map(networks),
        }
    }
}

/// A value with the same syntax in the file as on the command line.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
#[serde(bound = "T: Clone + Display + FromStr<Err: Display>")]
struct Text<T>(T);

impl<T: FromStr<Err: Display>> TryFrom<String> for Text<T> {
    type Error = String;

    fn try_from(text: String) -> Result<Text<T>, String> {
        let value = text.parse().map(Text);
        value.map_err(|error| format!("'{text}': {error}"))
    }
}

impl<T: Display> From<Text<T>> for String {
    fn from(text: Text<T>) -> String {
        text.0.to_string()
    }
}
