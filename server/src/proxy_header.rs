//! The header with which a proxy says whose connection it passes on: the PROXY protocol, versions 1 and 2.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How long the header may take to come.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What every header of version 1 begins with, and the longest there is.
const TEXT_SIGNATURE: &[u8] = b"PROXY ";
const TEXT_MAX: usize = 107;

/// What every header of version 2 begins with, and the longest that is taken: 520 bytes after the fixed part.
const BINARY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const BINARY_FIXED: usize = 16;
const BINARY_MAX: usize = BINARY_FIXED + 520;

/// What a proxy has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client, unless the proxy speaks for itself.
    pub(crate) client: Option<SocketAddr>,
    /// What came after the header.
    pub(crate) rest: Vec<u8>,
}

/// Reads the header off the front of a stream.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Header> {
    timeout(TIMEOUT, read_in_time(stream)).await?
}

async fn read_in_time<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Header> {
    let mut bytes = [0; BINARY_MAX];
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

/// The header at the front of these bytes; `None` if it needs more of them.
fn parse(bytes: &[u8]) -> io::Result<Option<Header>> {
    let length = match (
        may_begin(bytes, TEXT_SIGNATURE),
        may_begin(bytes, BINARY_SIGNATURE),
    ) {
        (true, _) => text_length(bytes)?,
        (_, true) => binary_length(bytes)?,
        _ => return Err(invalid()),
    };
    let Some((header, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
        return Ok(None);
    };
    let client = match header.starts_with(TEXT_SIGNATURE) {
        true => text_client(header)?,
        false => binary_client(header)?,
    };
    Ok(Some(Header {
        client,
        rest: rest.into(),
    }))
}

/// Whether bytes of which there may be more begin with the signature.
fn may_begin(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

/// The length of a header of version 1, once it is there.
fn text_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let line_end = bytes.iter().take(TEXT_MAX).position(|byte| *byte == b'\n');
    match line_end {
        None if bytes.len() >= TEXT_MAX => Err(invalid()),
        line_end => Ok(line_end.map(|line_end| line_end + 1)),
    }
}

/// The length of a header of version 2, once it is known.
fn binary_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(fixed) = bytes.first_chunk::<BINARY_FIXED>() else {
        return Ok(None);
    };
    let length = BINARY_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    match length <= BINARY_MAX {
        true => Ok(Some(length)),
        false => Err(invalid()),
    }
}

fn text_client(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v1::Header::try_from(header).map_err(|_| invalid())?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

fn binary_client(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let header = v2::Header::try_from(header).map_err(|_| invalid())?;
    Ok(match (header.command, header.addresses) {
        // The proxy asks for itself: to see whether the server is well.
        (v2::Command::Local, _) => None,
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => {
            Some((ip.source_address, ip.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => {
            Some((ip.source_address, ip.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
    })
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
