//! Resolves the name of a server, and tries its addresses in turn.
//!
//! [`Connection::connect`](crate::Connection::connect) and [`ask_udp`](crate::ask_udp) do both. Programs that
//! open sockets of their own need these functions to use the same addresses in the same order. Neither function
//! has a deadline of its own: wrap them in [`tokio::time::timeout`].

use std::io;
use std::net::SocketAddr;

use tokio::net::{ToSocketAddrs, lookup_host};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    fn contains(self, address: &SocketAddr) -> bool {
        match self {
            Family::Ipv4 => address.is_ipv4(),
            Family::Ipv6 => address.is_ipv6(),
        }
    }
}

/// Returns the addresses of `server` of the given family, or of both, IPv4 first.
///
/// More servers listen on IPv4 than on IPv6, and over UDP it takes seconds to find out that an address has
/// no server. Within a family the order is that of the resolver.
///
/// The result is never empty: no address is an error.
pub async fn resolve(
    server: impl ToSocketAddrs,
    family: Option<Family>,
) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = lookup_host(server)
        .await?
        .filter(|address| family.is_none_or(|family| family.contains(address)))
        .collect();
    if addresses.is_empty() {
        return Err(io::Error::other(match family {
            None => "it has no address",
            Some(Family::Ipv4) => "it has no IPv4 address",
            Some(Family::Ipv6) => "it has no IPv6 address",
        }));
    }
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

/// Calls `attempt` with each address in turn until it returns `Ok`.
///
/// Returns the last error if all attempts fail. An attempt whose failure makes further addresses pointless
/// returns that failure as its `Ok` value.
pub async fn try_each<T, F>(
    addresses: &[SocketAddr],
    mut attempt: impl FnMut(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut last_error = io::Error::new(io::ErrorKind::InvalidInput, "no address to try");
    for address in addresses {
        match attempt(*address).await {
            Ok(value) => return Ok(value),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

#[cfg(test)]
mod tests {
    use std::future;
    use std::io;
    use std::net::SocketAddr;

    use super::{Family, resolve, try_each};

    fn addresses<const N: usize>(addresses: [&str; N]) -> [SocketAddr; N] {
        addresses.map(|address| address.parse().expect("an address"))
    }

    #[tokio::test]
    async fn addresses_are_filtered_by_family_and_ipv4_comes_first() {
        let both = addresses(["[::1]:1", "127.0.0.1:2", "[::2]:3", "127.0.0.1:4"]);
        let [v6, v4, other_v6, other_v4] = both;
        for (family, expected) in [
            (None, &[v4, other_v4, v6, other_v6][..]),
            (Some(Family::Ipv4), &[v4, other_v4]),
            (Some(Family::Ipv6), &[v6, other_v6]),
        ] {
            let resolved = resolve(&both[..], family).await.expect("addresses");
            assert_eq!(resolved, expected, "{family:?}");
        }
    }

    #[tokio::test]
    async fn no_address_is_an_error() {
        let [v4] = addresses(["127.0.0.1:1"]);
        for (server, family, message) in [
            (&[][..], None, "it has no address"),
            (&[v4][..], Some(Family::Ipv6), "it has no IPv6 address"),
        ] {
            let error = resolve(server, family).await.expect_err("no address");
            assert_eq!(error.to_string(), message);
        }
    }

    #[tokio::test]
    async fn addresses_are_tried_until_one_succeeds() {
        let addresses = addresses(["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
        let mut tried = Vec::new();
        let port = try_each(&addresses, |address| {
            tried.push(address.port());
            future::ready(match address.port() {
                2 => Ok(2),
                _ => Err(io::ErrorKind::ConnectionRefused.into()),
            })
        });
        assert_eq!(port.await.expect("the second succeeds"), 2);
        assert_eq!(tried, [1, 2]);
    }

    #[tokio::test]
    async fn the_last_error_is_returned_if_all_attempts_fail() {
        let addresses = addresses(["127.0.0.1:1", "127.0.0.1:2"]);
        let failed = try_each(&addresses, |address| {
            future::ready(io::Result::<()>::Err(io::Error::other(
                address.port().to_string(),
            )))
        });
        assert_eq!(failed.await.expect_err("all fail").to_string(), "2");
        let empty = try_each(&[], |_| future::ready(Ok(()))).await;
        assert_eq!(
            empty.expect_err("no address").kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
