//! The value of `--server`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use chime_client::addresses::Family;

use crate::arguments;

/// A server: an optional transport, a host, and an optional port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    transport: Option<Transport>,
    host: String,
    port: Option<u16>,
}

/// The protocol below the requests and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Returns the port of servers that do not say otherwise.
    fn default_port(self) -> u16 {
        match self {
            Transport::Tcp => 9990,
            Transport::Udp => 8089,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        })
    }
}

impl ServerAddress {
    /// Returns the server on this machine.
    pub(crate) fn loopback(family: Option<Family>) -> ServerAddress {
        let host = match family {
            Some(Family::Ipv6) => "::1",
            Some(Family::Ipv4) | None => "127.0.0.1",
        };
        ServerAddress {
            transport: None,
            host: host.to_owned(),
            port: None,
        }
    }

    /// Returns the transport, if the address has a scheme.
    pub(crate) fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// Returns the host and the port, or port 0 if the address has none.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port.unwrap_or_default())
    }

    /// Replaces the port by `port`, or else sets it to the default port if the address has none.
    pub(crate) fn with_port(self, port: Option<u16>, transport: Transport) -> ServerAddress {
        ServerAddress {
            port: port.or(self.port).or(Some(transport.default_port())),
            ..self
        }
    }
}

impl FromStr for ServerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ServerAddress, &'static str> {
        let (transport, text) = transport(text)?;
        let (host, port) = match text.strip_prefix('[') {
            Some(text) => {
                let (host, rest) = text.split_once(']').ok_or("missing ']'")?;
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':').ok_or("only :PORT may follow ']'")?),
                };
                (ipv6(host)?, port)
            }
            None => match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => (ipv6(text)?, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err("missing host");
        }
        Ok(ServerAddress {
            transport,
            host: host.to_owned(),
            port: port.map(arguments::port).transpose()?,
        })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => write!(f, "{}", self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Splits off the scheme, if any, and a final slash after a scheme.
fn transport(text: &str) -> Result<(Option<Transport>, &str), &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok((None, text));
    };
    let transport = match &*scheme.to_ascii_lowercase() {
        "chime" => None,
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => return Err("the scheme must be chime://, tcp:// or udp://"),
    };
    Ok((transport, rest.strip_suffix('/').unwrap_or(rest)))
}

/// Returns the host if it is an IPv6 address, with an optional zone (`fe80::1%eth0`).
fn ipv6(host: &str) -> Result<&str, &'static str> {
    let (address, _) = host.split_once('%').unwrap_or((host, ""));
    match address.parse::<Ipv6Addr>() {
        Ok(_) => Ok(host),
        Err(_) => Err("neither HOST:PORT nor an IPv6 address"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ServerAddress, Transport};

    #[test]
    fn the_port_is_optional() {
        for (text, server) in [
            ("localhost", "localhost:9990"),
            ("chime.example:1", "chime.example:1"),
            ("127.0.0.1:65535", "127.0.0.1:65535"),
            ("::1", "[::1]:9990"),
            ("[::1]", "[::1]:9990"),
            ("[::1]:80", "[::1]:80"),
            ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
            ("tcp://localhost", "localhost:9990"),
            ("tcp://localhost:1/", "localhost:1"),
            ("chime://localhost:2", "localhost:2"),
            ("Chime://[::1]/", "[::1]:9990"),
            ("TCP://[::1]:80", "[::1]:80"),
            ("udp://::1", "[::1]:9990"),
        ] {
            let parsed: ServerAddress = text.parse().expect("a valid address");
            let with_port = parsed.clone().with_port(None, Transport::Tcp);
            assert_eq!(with_port.to_string(), server);
            let (host, _) = server.rsplit_once(':').expect("a port");
            let with_port = parsed.with_port(Some(7), Transport::Udp);
            assert_eq!(with_port.to_string(), format!("{host}:7"));
        }
    }

    #[test]
    fn an_invalid_address_is_an_error_with_a_reason() {
        for (text, reason) in [
            (
                "http://localhost",
                "the scheme must be chime://, tcp:// or udp://",
            ),
            (
                "://localhost",
                "the scheme must be chime://, tcp:// or udp://",
            ),
            ("tcp://", "missing host"),
            ("udp://:8089", "missing host"),
            ("tcp://localhost:x", "the port must be from 1 to 65535"),
            (
                "tcp:localhost:9990",
                "neither HOST:PORT nor an IPv6 address",
            ),
        ] {
            assert_eq!(text.parse::<ServerAddress>(), Err(reason), "{text}");
        }
    }
}
