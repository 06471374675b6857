//! The PROXY protocol, versions 1 and 2: a header in which a proxy passes on the client's address.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::conversation::QUIET_PERIOD;

/// The time within which the header must arrive.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The signature of version 1, and the maximum length of its header.
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V1_LENGTH_MAX: usize = 107;

/// The signature of version 2, and the length of its fixed part.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_LENGTH: usize = 16;

/// Version 2 with the command LOCAL, such as a health check: the receiver must ignore the addresses,
/// whatever family and length they claim.
const V2_LOCAL: u8 = 0x20;

/// The longest header of version 2 that is accepted: 520 bytes after the fixed part.
const V2_LENGTH_MAX: usize = V2_FIXED_LENGTH + 520;

/// A PROXY header, and the bytes read after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client's address; `None` if the connection is the proxy's own.
    pub(crate) client: Option<SocketAddr>,
    /// The bytes read after the header.
    pub(crate) rest: Box<[u8]>,
}

/// Reads the header from the front of a stream, within the timeout.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Header> {
    let mut reading = pin!(read_header(stream));
    match timeout(TIMEOUT, &mut reading).await {
        Ok(header) => header,
        // It may have arrived in time, but the I/O driver has not reported it yet.
        Err(_) => timeout(QUIET_PERIOD, reading).await?,
    }
}

async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Header> {
    let mut bytes = [0; V2_LENGTH_MAX];
    let mut length = 0;
    loop {
        let count = stream.read(&mut bytes[length..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += count;
        if let Some(header) = parse(&bytes[..length])? {
            return Ok(header);
        }
    }
}

/// Parses the header at the front of these bytes. Returns `None` if it is incomplete.
fn parse(bytes: &[u8]) -> io::Result<Option<Header>> {
    let length = match (
        may_start_with(bytes, V1_SIGNATURE),
        may_start_with(bytes, V2_SIGNATURE),
    ) {
        (true, _) => v1_length(bytes)?,
        (_, true) => v2_length(bytes)?,
        _ => return Err(invalid()),
    };
    let Some((header, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
        return Ok(None);
    };
    let client = match header.starts_with(V1_SIGNATURE) {
        true => v1_client(header)?,
        false => v2_client(header)?,
    };
    Ok(Some(Header {
        client,
        rest: rest.into(),
    }))
}

/// Returns whether these bytes, or a continuation of them, begin with the signature.
fn may_start_with(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

/// Returns the length of a header of version 1; `None` if it is incomplete.
fn v1_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let line_end = bytes
        .iter()
        .take(V1_LENGTH_MAX)
        .position(|byte| *byte == b'\n');
    match line_end {
        None if bytes.len() >= V1_LENGTH_MAX => Err(invalid()),
        line_end => Ok(line_end.map(|line_end| line_end + 1)),
    }
}

/// Returns the length of a header of version 2; `None` if the fixed part is incomplete.
fn v2_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_LENGTH>() else {
        return Ok(None);
    };
    let length = V2_FIXED_LENGTH + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    match length <= V2_LENGTH_MAX {
        true => Ok(Some(length)),
        false => Err(invalid()),
    }
}

fn v1_client(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v1::Header::try_from(header).map_err(|_| invalid())?;
    let (address, port) = match header.addresses {
        v1::Addresses::Tcp4(ip) => (ip.source_address.into(), ip.source_port),
        v1::Addresses::Tcp6(ip) => (ip.source_address.into(), ip.source_port),
        v1::Addresses::Unknown => return Ok(None),
    };
    Ok(Some(SocketAddr::new(address, port)))
}

fn v2_client(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    if header[V2_SIGNATURE.len()] == V2_LOCAL {
        return Ok(None);
    }
    let header = v2::Header::try_from(header).map_err(|_| invalid())?;
    let (address, port) = match header.addresses {
        v2::Addresses::IPv4(ip) => (ip.source_address.into(), ip.source_port),
        v2::Addresses::IPv6(ip) => (ip.source_address.into(), ip.source_port),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => return Ok(None),
    };
    Ok(Some(SocketAddr::new(address, port)))
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;

    /// Reads these bytes from a stream that delivers them in two pieces. Returns the client and the rest.
    fn read_in_two(bytes: &[u8], cut: usize) -> Option<(Option<SocketAddr>, Vec<u8>)> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("the runtime starts");
        runtime.block_on(async {
            let mut stream = bytes[..cut].chain(&bytes[cut..]);
            let Header { client, rest } = read(&mut stream).await.ok()?;
            let mut rest = rest.into_vec();
            stream.read_to_end(&mut rest).await.ok()?;
            Some((client, rest))
        })
    }

    /// Generates a header of either version, and the client that it names.
    fn header() -> impl Strategy<Value = (Vec<u8>, SocketAddr)> {
        let v1 = any::<([u8; 4], u16)>().prop_map(|(address, port)| {
            let client = SocketAddr::from((address, port));
            let text = format!("PROXY TCP4 {} 192.0.2.9 {port} 9990\r\n", client.ip());
            (text.into_bytes(), client)
        });
        let v2 = any::<([u8; 4], u16)>().prop_map(|(address, port)| {
            let mut bytes = V2_SIGNATURE.to_vec();
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(address);
            bytes.extend([192, 0, 2, 9]);
            bytes.extend(port.to_be_bytes());
            bytes.extend(9990_u16.to_be_bytes());
            (bytes, SocketAddr::from((address, port)))
        });
        prop_oneof![v1, v2]
    }

    proptest! {
        #[test]
        fn t21_a_valid_header_is_parsed_however_it_is_split(
            (mut bytes, client) in header(),
            rest in proptest::collection::vec(any::<u8>(), 0..600),
            cut in any::<prop::sample::Index>(),
        ) {
            bytes.extend(&rest);
            let read = read_in_two(&bytes, cut.index(bytes.len()));
            prop_assert_eq!(read, Some((Some(client), rest)));
        }

        #[test]
        fn t21_a_corrupt_header_is_parsed_alike_however_it_is_split(
            (mut bytes, _) in header(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            rest in proptest::collection::vec(any::<u8>(), 0..600),
            cut in any::<prop::sample::Index>(),
        ) {
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.extend(&rest);
            let whole = read_in_two(&bytes, 0);
            prop_assert_eq!(read_in_two(&bytes, cut.index(bytes.len())), whole);
        }

        #[test]
        fn t21_random_bytes_are_no_header(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(read_in_two(&bytes, 0), None);
        }
    }
}
