//! Generates the settings of servers and what clients do, from bytes.

use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use chime_model::strategies::NEAR_MISSES;
use chime_protocol::{Command, Framing, Reply, Service};

use ipnet::IpNet;

use super::{
    Act, Behaviour, Destination, DestinationAddress, Ending, Form, Header, Listener, Reading,
    Server, Source, Target, Timeout, UdpSocket,
};
use crate::scenario::{Text, list, one_in};

/// The maximum length of all that a client writes to its connection.
const STREAM_BYTES_MAX: usize = 8_000;

pub(super) fn service(bytes: &mut Unstructured<'_>) -> Result<Service> {
    use Service::{Both, DateTime, DigitSum};
    bytes
        .choose(&[Both, Both, Both, Both, Both, Both, DateTime, DigitSum])
        .copied()
}

pub(super) fn framing(bytes: &mut Unstructured<'_>) -> Result<Framing> {
    use Framing::{Line, Read};
    bytes.choose(&[Line, Line, Line, Line, Read]).copied()
}

pub(super) fn listeners(bytes: &mut Unstructured<'_>) -> Result<Vec<Listener>> {
    let count = one_in(3, 2..=3, 1..=1)(bytes)?;
    list(count..=count, |bytes| bytes.arbitrary())(bytes)
}

pub(super) fn udp_sockets(bytes: &mut Unstructured<'_>) -> Result<Vec<UdpSocket>> {
    let count = one_in(3, 2..=2, 1..=1)(bytes)?;
    list(count..=count, |bytes| bytes.arbitrary())(bytes)
}

/// Networks of clients and their neighbours, in each way to write them.
const NETWORKS: [&str; 14] = [
    "192.168.0.2/32",
    "192.168.0.2/31",
    "192.168.0.0/24",
    "192.168.0.0/30",
    "::ffff:192.168.0.2/127",
    "::ffff:192.168.0.0/120",
    "192.0.2.1/32",
    "192.0.2.0/24",
    "::ffff:192.0.2.0/120",
    "2001:db8::/64",
    "2001:db8::/32",
    "0.0.0.0/0",
    "::ffff:0.0.0.0/96",
    "::/0",
];

pub(super) fn networks(bytes: &mut Unstructured<'_>) -> Result<Vec<IpNet>> {
    let count = one_in(6, 1..=2, 0..=0)(bytes)?;
    list(count..=count, |bytes| {
        Ok(bytes.choose(&NETWORKS)?.parse().expect("a network"))
    })(bytes)
}

/// The networks of trusted proxies: those of all hosts, of one, of none, or no network.
pub(super) fn proxies(bytes: &mut Unstructured<'_>) -> Result<Vec<IpNet>> {
    let networks = [
        "192.168.0.0/24",
        "192.168.0.0/24",
        "::ffff:192.168.0.0/120",
        "0.0.0.0/0",
        "::ffff:0.0.0.0/96",
        "192.168.0.2/32",
        "::ffff:192.168.0.3/128",
        "::/0",
    ];
    let count = one_in(4, 1..=2, 0..=0)(bytes)?;
    list(count..=count, |bytes| {
        Ok(bytes.choose(&networks)?.parse().expect("a network"))
    })(bytes)
}

/// The addresses of clients behind a proxy, and of spoofed datagrams.
pub(super) const ADDRESSES: [&str; 7] = [
    "192.0.2.1",
    "192.0.2.1",
    "192.0.2.2",
    "::ffff:192.0.2.1",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:0:1::1",
];

fn address(bytes: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(bytes.choose(&ADDRESSES)?.parse().expect("an address"))
}

/// A listener, with a header if it needs one.
fn target(server: &Server, bytes: &mut Unstructured<'_>) -> Result<Target> {
    let mut target = Target {
        listener: bytes.int_in_range(0..=server.listeners.len() - 1)? as u8,
        header: None,
    };
    if server.listener(&target).1.is_proxied() && bytes.int_in_range(0..=15)? < 15 {
        use Form::{
            V1, V1TooLong, V1Torn, V1Unknown, V1WrongAddress, V2, V2Local, V2Longest, V2TooLong,
            V2Unix, V2Unspecified, V2WrongVersion, WrongSignature,
        };
        let cuts = one_in(3, 1..=40, 0..=0)(bytes)?;
        target.header = Some(Header {
            form: *bytes.choose(&[
                V1,
                V1,
                V1,
                V2,
                V2,
                V2,
                V2Longest,
                V1Unknown,
                V2Local,
                V2Unspecified,
                V2Unix,
                V1Torn,
                V1WrongAddress,
                V1TooLong,
                V2TooLong,
                V2WrongVersion,
                WrongSignature,
            ])?,
            client: address(bytes)?,
            cuts,
            // The server waits 3 seconds for all of it.
            pause_ms: one_in(4, 20..=400, 0..=20)(bytes)?.min(3_600 / (cuts as u32 + 1)),
            is_joined: bytes.arbitrary()?,
        });
    }
    Ok(target)
}

fn destination(server: &Server, bytes: &mut Unstructured<'_>) -> Result<Destination> {
    use DestinationAddress::{Broadcast, Multicast, Primary, Secondary};
    Ok(Destination {
        socket: bytes.int_in_range(0..=server.udp_sockets.len() - 1)? as u8,
        address: *bytes.choose(&[
            Primary, Primary, Primary, Secondary, Secondary, Broadcast, Multicast,
        ])?,
    })
}

/// The library does not wait for what broadcasts may bring.
fn unicast(destination: Destination) -> Destination {
    match destination.address.is_unicast() {
        true => destination,
        false => Destination {
            address: DestinationAddress::Primary,
            ..destination
        },
    }
}

/// What a client does. The client library needs framing `line`.
pub(super) fn behaviour(server: &Server, bytes: &mut Unstructured<'_>) -> Result<Behaviour> {
    let to = target(server, bytes)?;
    let framing = server.listener(&to).1.framing;
    let first = if framing == Framing::Line { 0 } else { 6 };
    match bytes.int_in_range(first..=19)? {
        0..=2 => Ok(Behaviour::Ask {
            to,
            lines: list(1..=7, |bytes| {
                Ok(String::from_utf8_lossy(&word(bytes)?).replace('\n', " "))
            })(bytes)?,
            pause_ms: pause(bytes)?,
            timeout_ms: timeout(bytes)?,
        }),
        3..=5 => Ok(Behaviour::Pipe {
            to,
            chunks: line_chunks(bytes)?,
            pause_ms: pause(bytes)?,
            timeout_ms: timeout(bytes)?,
        }),
        6..=10 => write(to, framing, bytes),
        11..=15 => patient(to, framing, bytes),
        16..=17 => Ok(Behaviour::AskDatagrams {
            to: unicast(destination(server, bytes)?),
            commands: list(1..=3, time_command)(bytes)?,
            pause_ms: pause(bytes)?,
            // The library sends its request again after 1 and 3 seconds.
            timeout_ms: match bytes.int_in_range(1..=3)? {
                1..=2 => timeout(bytes)?,
                _ => Timeout(one_in(12, 3_001..=4_000, 1_001..=1_300)(bytes)?),
            },
        }),
        _ => write_datagrams(server, bytes),
    }
}

fn write_datagrams(server: &Server, bytes: &mut Unstructured<'_>) -> Result<Behaviour> {
    let datagrams = datagrams(bytes)?;
    // Many in a second.
    let pause_max_ms = 1_000 / datagrams.len() as u32;
    Ok(Behaviour::WriteDatagrams {
        to: destination(server, bytes)?,
        datagrams,
        source: match bytes.int_in_range(0..=5)? {
            0..=1 => Source::Sender,
            2 => Source::Server,
            3 => Source::Nobody,
            4 => Source::Service,
            _ => Source::Elsewhere(address(bytes)?),
        },
        pause_ms: pause(bytes)?.min(pause_max_ms),
    })
}

fn write(to: Target, framing: Framing, bytes: &mut Unstructured<'_>) -> Result<Behaviour> {
    let chunks = match framing {
        Framing::Line => line_chunks(bytes)?,
        // Mostly a command each.
        Framing::Read => list(0..=7, |bytes| match bytes.int_in_range(0..=4)? {
            0..=3 => word(bytes).map(Text),
            _ => line(bytes).map(Text),
        })(bytes)?,
    };
    let mut acts = Vec::new();
    for chunk in chunks {
        if bytes.arbitrary()? {
            acts.push(Act::Pause(pause(bytes)?));
        }
        if !chunk.is_empty() {
            acts.push(Act::Write(chunk));
        }
    }
    if bytes.arbitrary()? {
        acts.push(Act::Shut);
    }
    Ok(Behaviour::Write {
        to,
        acts,
        reading: match bytes.int_in_range(0..=7)? {
            0..=3 => Reading::Eager,
            4..=6 => Reading::Slow {
                bytes: bytes.int_in_range(16..=200)?,
                pause_ms: bytes.int_in_range(1..=15)?,
            },
            _ => Reading::Never,
        },
        ending: match bytes.int_in_range(0..=7)? {
            0..=5 => Ending::Await,
            6 => Ending::Leave,
            _ => Ending::Forget,
        },
    })
}

/// A client that takes its time.
fn patient(to: Target, framing: Framing, bytes: &mut Unstructured<'_>) -> Result<Behaviour> {
    let (mut reading, mut ending) = (Reading::Eager, Ending::Await);
    let acts = match (bytes.int_in_range(0..=9)?, framing) {
        // A slow writer: faster or slower than the minimum rate of the server, 500 bytes a second.
        (0..=1, _) => {
            let text = "7".repeat(bytes.int_in_range(20..=250)?) + "\n";
            let (length, pause_ms) = (bytes.int_in_range(1..=2)?, bytes.int_in_range(1..=12)?);
            let pieces = text.as_bytes().chunks(length);
            let acts = pieces.flat_map(|piece| [Act::Pause(pause_ms), Act::Write(piece.into())]);
            acts.collect()
        }
        // A slow reader of long replies.
        (2..=5, Framing::Line) => {
            // Some read more, and seldom.
            reading = match bytes.int_in_range(1..=3)? {
                3 => Reading::Slow {
                    bytes: bytes.int_in_range(500..=1_000)?,
                    pause_ms: bytes.int_in_range(200..=600)?,
                },
                _ => Reading::Slow {
                    bytes: bytes.int_in_range(10..=60)?,
                    pause_ms: bytes.int_in_range(5..=20)?,
                },
            };
            let lines = "help\n".repeat(bytes.int_in_range(1..=4)?);
            let mut acts = vec![Act::Write(Text::from(&*lines)); bytes.int_in_range(4..=12)?];
            acts.push(Act::Shut);
            acts
        }
        // A request or many at once that fill the input or the output buffer of the server.
        (9, Framing::Line) => {
            let text = match bytes.arbitrary()? {
                true => "help\n".repeat(bytes.int_in_range(450..=1_500)?),
                false => "7".repeat(bytes.int_in_range(33_000..=70_000)?) + "\n",
            };
            vec![Act::Write(text.as_str().into()), Act::Shut]
        }
        // A client that closes before or after the linger timeout of the server.
        (2..=6, _) => {
            ending = *bytes.choose(&[Ending::Await, Ending::Leave])?;
            let line = match framing {
                Framing::Line => "quit\n",
                Framing::Read => "quit",
            };
            let late_ms = one_in(3, 1_001..=1_200, 20..=990)(bytes)?;
            vec![Act::Write(Text::from(line)), Act::Pause(late_ms), Act::Shut]
        }
        // A client that sends nothing.
        _ => vec![Act::Pause(bytes.int_in_range(0..=400)?)],
    };
    Ok(Behaviour::Write {
        to,
        acts,
        reading,
        ending,
    })
}

/// A timeout of the client library. Half of them are so short that they strike, if the latency is high.
fn timeout(bytes: &mut Unstructured<'_>) -> Result<Timeout> {
    match bytes.arbitrary()? {
        true => bytes.int_in_range(400..=900).map(Timeout),
        false => bytes.int_in_range(5..=400).map(Timeout),
    }
}

fn pause(bytes: &mut Unstructured<'_>) -> Result<u32> {
    let end_ms = *bytes.choose(&[2, 2, 60, 60, 400])?;
    bytes.int_in_range(0..=end_ms)
}

/// Lines, cut into chunks regardless of where they end. Some are one line many times.
fn line_chunks(bytes: &mut Unstructured<'_>) -> Result<Vec<Text>> {
    let lines = if bytes.int_in_range(1..=3)? == 3 {
        let line = line(bytes)?;
        // The replies to many short lines exceed the output buffer of the server.
        let count = one_in(8, 200..=2_000, 2..=200)(bytes)?;
        line.repeat(count.min(STREAM_BYTES_MAX / line.len().max(1)))
    } else {
        list(0..=9, line)(bytes)?.concat()
    };
    let mut rest = &*lines;
    let mut chunks = Vec::new();
    for _ in 0..bytes.int_in_range(0..=19)? {
        let length_max = *bytes.choose(&[3, 3, 20, 400])?;
        let (chunk, after) = rest.split_at(bytes.int_in_range(1..=length_max)?.min(rest.len()));
        chunks.push(Text::from(chunk));
        rest = after;
    }
    chunks.push(Text::from(rest));
    chunks.retain(|chunk| !chunk.is_empty());
    Ok(chunks)
}

/// A line with its line end, or sometimes without, so that it is joined to the next.
fn line(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut line = bytes
        .choose(&["", "", "", "", "", "", " ", "\t "])?
        .as_bytes()
        .to_vec();
    line.extend(word(bytes)?);
    let ends = [
        "\n", "\n", "\n", "\n", "\r\n", "\r\n", " \n", "\r\r\n", "\t\r \n", "\r", "",
    ];
    line.extend(bytes.choose(&ends)?.as_bytes());
    Ok(line)
}

/// A command or a near miss.
fn word(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    match bytes.int_in_range(0..=15)? {
        0..=6 => {
            // The last two end the conversation.
            let command = Command::ALL[one_in(8, 5..=6, 0..=4)(bytes)?];
            let mut name = command.name().as_bytes().to_vec();
            for letter in &mut name {
                if bytes.arbitrary()? {
                    letter.make_ascii_uppercase();
                }
            }
            Ok(name)
        }
        7..=10 => digits(bytes),
        11..=13 => Ok(bytes.choose(NEAR_MISSES)?.to_vec()),
        14 => Ok([digits(bytes)?, vec![bytes.arbitrary()?], digits(bytes)?].concat()),
        _ => list(0..=40, |bytes| bytes.arbitrary())(bytes),
    }
}

/// Digits, some with leading zeros, some longer than the blocks that are summed at once.
fn digits(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let zeros = one_in(4, 1..=20, 0..=0)(bytes)?;
    let length = one_in(4, 1..=200, 1..=12)(bytes)?;
    let least = *bytes.choose(b"000009")?;
    let digits = list(length..=length, |bytes| bytes.int_in_range(least..=b'9'))(bytes)?;
    Ok([vec![b'0'; zeros], digits].concat())
}

fn time_command(bytes: &mut Unstructured<'_>) -> Result<String> {
    let commands: Vec<_> = Command::time_commands().collect();
    Ok(bytes.choose(&commands)?.name().into())
}

/// A few datagrams, or more than the server receives at a time.
fn datagrams(bytes: &mut Unstructured<'_>) -> Result<Vec<Text>> {
    if bytes.int_in_range(1..=4)? == 4 {
        let datagram = datagram(bytes)?;
        let count_max = if datagram.len() < 100 { 60 } else { 10 };
        return Ok(vec![datagram; bytes.int_in_range(10..=count_max)?]);
    }
    list(1..=11, datagram)(bytes)
}

/// A request, a near miss, a reply, or neither.
fn datagram(bytes: &mut Unstructured<'_>) -> Result<Text> {
    let datagram = match bytes.int_in_range(0..=9)? {
        0..=4 => {
            let ends = [
                "", "", "\n", "\n", "\r\n", "\r\n", "\r", "\n\n", "\r\r\n", " ", "\0",
            ];
            time_command(bytes)? + bytes.choose(&ends)?
        }
        5 => Reply::Sum(bytes.arbitrary()?).to_string(),
        6 => String::new(),
        7 => "d".repeat(bytes.int_in_range(1_000..=65_000)?),
        8 => return line(bytes).map(Text),
        _ => return list(0..=1_500, |bytes| bytes.arbitrary())(bytes).map(Text),
    };
    Ok(Text(datagram.into()))
}
