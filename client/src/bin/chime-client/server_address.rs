//! The value of `--server`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A server as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    transport: Option<Transport>,
    host: String,
    port: Option<u16>,
}

/// What a scheme such as `tcp://` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl ServerAddress {
    /// The transport, if the user named one.
    pub(crate) fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// Returns the host and the port, which is 0 if the user named none.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port.unwrap_or_default())
    }

    /// The server with `port`, if the user named none.
    pub(crate) fn or_port(self, port: u16) -> ServerAddress {
        ServerAddress {
            port: self.port.or(Some(port)),
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
                let (host, rest) = text.split_once(']').ok_or("a ']' is missing")?;
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':').ok_or("after ']' comes :PORT")?),
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
            return Err("the host is missing");
        }
        let port = match port.map(u16::from_str) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return Err("a port is a number from 1 to 65535"),
        };
        Ok(ServerAddress {
            transport,
            host: host.to_owned(),
            port,
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

/// The transport that the text begins with, if any, and what follows, up to the slash that ends a URL.
fn transport(text: &str) -> Result<(Option<Transport>, &str), &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok((None, text));
    };
    let transport = match &*scheme.to_ascii_lowercase() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return Err("the scheme must be tcp:// or udp://, or left out"),
    };
    Ok((Some(transport), rest.strip_suffix('/').unwrap_or(rest)))
}

/// The host if it is an IPv6 address, which may name its zone (`fe80::1%eth0`).
fn ipv6(host: &str) -> Result<&str, &'static str> {
    let (address, _) = host.split_once('%').unwrap_or((host, ""));
    match address.parse::<Ipv6Addr>() {
        Ok(_) => Ok(host),
        Err(_) => Err("this is neither HOST:PORT nor an IPv6 address"),
    }
}

#[cfg(test)]
mod tests {
    use super::ServerAddress;

    #[test]
    fn a_server_may_be_named_with_or_without_its_port() {
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
            ("TCP://[::1]:80", "[::1]:80"),
            ("udp://::1", "[::1]:9990"),
        ] {
            let parsed: ServerAddress = text.parse().expect("a server");
            assert_eq!(parsed.or_port(9990).to_string(), server);
        }
    }

    #[test]
    fn what_is_wrong_with_the_name_of_a_server_is_told() {
        for (text, reason) in [
            (
                "http://localhost",
                "the scheme must be tcp:// or udp://, or left out",
            ),
            (
                "://localhost",
                "the scheme must be tcp:// or udp://, or left out",
            ),
            ("tcp://", "the host is missing"),
            ("udp://:8089", "the host is missing"),
            ("tcp://localhost:x", "a port is a number from 1 to 65535"),
            (
                "tcp:localhost:9990",
                "this is neither HOST:PORT nor an IPv6 address",
            ),
        ] {
            assert_eq!(text.parse::<ServerAddress>(), Err(reason), "{text}");
        }
    }
}
