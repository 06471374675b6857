//! PROXY headers, as clients send them and as the server has to understand them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use strum::VariantNames;

use super::Act;
use crate::scenario::json::{is_default, within};

/// The proxy's own address in its headers: the server does not use it.
const DESTINATION_V4: [u8; 4] = [192, 0, 2, 9];
const DESTINATION_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The maximum length of a header of version 1, and of version 2 after the fixed part of 16 bytes.
const V1_LENGTH_MAX: usize = 107;
const V2_REST_MAX: u16 = 520;

/// A PROXY header, and how it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// What it is.
    pub form: Form,
    /// The client that it names.
    pub client: IpAddr,
    /// The number of cuts: it is sent with one write more.
    #[serde(
        default,
        skip_serializing_if = "is_default",
        deserialize_with = "within::<0, 600, _, _>"
    )]
    pub cuts: usize,
    /// The pause before each write but the first.
    #[serde(
        default,
        skip_serializing_if = "is_default",
        deserialize_with = "within::<0, 60_000, _, _>"
    )]
    pub pause_ms: u32,
    /// Whether the last of these writes has the first bytes of the conversation, too. Only clients that write bytes of
    /// their own do so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_joined: bool,
}

/// What a PROXY header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Version 1 with the address of the client.
    V1,
    /// Version 1 with `UNKNOWN` in place of addresses.
    V1Unknown,
    /// Version 1 without its line end.
    V1Torn,
    /// Version 1 with an address that is none.
    V1WrongAddress,
    /// Version 1 with a line that is too long.
    V1TooLong,
    /// Version 2 with the address of the client.
    V2,
    /// Version 2 with additional fields (TLV) of the maximum length.
    V2Longest,
    /// Version 2 with the command `LOCAL`, and addresses that have to be ignored.
    V2Local,
    /// Version 2 with the number of another version, and the command `LOCAL`.
    V2WrongVersion,
    /// Version 2 without addresses.
    V2Unspecified,
    /// Version 2 with addresses of Unix domain sockets.
    V2Unix,
    /// Version 2 with a length that is too long.
    V2TooLong,
    /// Not a header: the last byte of the signature of version 2 is wrong.
    WrongSignature,
}

/// What a server that expects a header has to conclude from the bytes that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// It has to read on.
    Incomplete,
    /// They do not begin with a header.
    Invalid,
    /// They begin with a header of this length. The client has this address, or that of the peer.
    Valid(usize, Option<IpAddr>),
}

impl Header {
    /// The bytes of the header.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let v1 = |rest: String| [V1_SIGNATURE, rest.as_bytes()].concat();
        let version = if self.client.is_ipv4() { 4 } else { 6 };
        let destination = match self.client {
            IpAddr::V4(_) => IpAddr::from(DESTINATION_V4),
            IpAddr::V6(_) => IpAddr::from(DESTINATION_V6),
        };
        let line = format!("TCP{version} {} {destination} 4711 9990", self.client);
        match self.form {
            Form::V1 => v1(line + "\r\n"),
            Form::V1Unknown => v1("UNKNOWN\r\n".into()),
            Form::V1Torn => v1(line[..6].into()),
            Form::V1WrongAddress => v1(format!("TCP4 192.0.2.300 {destination} 4711 9990\r\n")),
            Form::V1TooLong => v1(format!("UNKNOWN {}\r\n", "x".repeat(V1_LENGTH_MAX))),
            Form::V2 => self.v2(0x21, 0, 0),
            Form::V2Longest => self.v2(0x21, V2_REST_MAX, 0),
            Form::V2Local => self.v2(0x20, 0, 0),
            Form::V2WrongVersion => self.v2(0x10, 0, 0),
            Form::V2Unspecified => [V2_SIGNATURE, &[0x21, 0, 0, 0]].concat(),
            Form::V2Unix => [V2_SIGNATURE, &[0x21, 0x31, 0, 216], &[b'/'; 216]].concat(),
            Form::V2TooLong => self.v2(0x21, V2_REST_MAX, 1),
            Form::WrongSignature => [&V2_SIGNATURE[..11], b"\r"].concat(),
        }
    }

    /// Version 2 with addresses, filled up to `length` bytes after the fixed part, and a length field that claims
    /// `excess` bytes more.
    fn v2(&self, command: u8, length: u16, excess: u16) -> Vec<u8> {
        let mut rest = match self.client {
            IpAddr::V4(client) => [client.octets(), DESTINATION_V4].concat(),
            IpAddr::V6(client) => [client.octets(), DESTINATION_V6].concat(),
        };
        rest.extend([0x12, 0x67, 0x27, 0x06]);
        if let Some(more) = usize::from(length).checked_sub(rest.len() + 3) {
            // A field of the type NOOP.
            rest.push(4);
            rest.extend(u16::try_from(more).expect("it is short").to_be_bytes());
            rest.extend(vec![0; more]);
        }
        let length = u16::try_from(rest.len()).expect("it is short") + excess;
        let family = if self.client.is_ipv4() { 0x11 } else { 0x21 };
        let fixed = [&[command, family], &length.to_be_bytes()[..]].concat();
        [V2_SIGNATURE, &fixed, &rest].concat()
    }

    /// The writes that send it, and the pauses between them.
    pub(super) fn acts(&self) -> Vec<Act> {
        let bytes = self.bytes();
        let pieces = bytes.chunks(bytes.len().div_ceil(self.cuts + 1));
        let acts = pieces.flat_map(|piece| [Act::Pause(self.pause_ms), Act::Write(piece.into())]);
        acts.skip(1).collect()
    }

    /// The writes that send it, and these acts after it.
    pub(super) fn before(&self, mut acts: Vec<Act>) -> Vec<Act> {
        let mut all = self.acts();
        if let (true, Some(Act::Write(first)), [.., Act::Write(last)]) =
            (self.is_joined, acts.first(), &mut *all)
        {
            last.0.extend(&first.0);
            acts.remove(0);
        }
        all.extend(acts);
        all
    }

    /// What a server has to conclude once it has read these bytes, which begin with this header.
    fn conclude(&self, bytes: &[u8]) -> Conclusion {
        let whole = self.bytes().len();
        let (decisive, conclusion) = match self.form {
            Form::V1 | Form::V2 | Form::V2Longest => {
                (whole, Conclusion::Valid(whole, Some(self.client)))
            }
            Form::V1Unknown | Form::V2Local | Form::V2Unspecified | Form::V2Unix => {
                (whole, Conclusion::Valid(whole, None))
            }
            Form::V1WrongAddress | Form::V2WrongVersion | Form::WrongSignature => {
                (whole, Conclusion::Invalid)
            }
            Form::V1TooLong => (V1_LENGTH_MAX, Conclusion::Invalid),
            // What follows may end its line.
            Form::V1Torn => {
                let line_end = bytes.iter().position(|byte| *byte == b'\n');
                let line_end = line_end.map_or(V1_LENGTH_MAX, |line_end| line_end + 1);
                (line_end.min(V1_LENGTH_MAX), Conclusion::Invalid)
            }
            Form::V2TooLong => (16, Conclusion::Invalid),
        };
        match bytes.len() >= decisive {
            true => conclusion,
            false => Conclusion::Incomplete,
        }
    }
}

/// What a server that expects a header has to conclude from the bytes that it has read. The client sends this header.
pub(super) fn conclude(header: Option<&Header>, bytes: &[u8]) -> Conclusion {
    if let Some(header) = header {
        return header.conclude(bytes);
    }
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(one, other)| one == other);
    match begins(V1_SIGNATURE) || begins(V2_SIGNATURE) {
        true => Conclusion::Incomplete,
        false => Conclusion::Invalid,
    }
}
