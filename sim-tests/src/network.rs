//! Sockets on the simulated network, which do what real ones may do and turmoil's don't.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use chime_protocol::{DATAGRAM_MAX, Framing};
use chime_server::Datagram;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream, UdpSocket};

use crate::scenario::Text;
use crate::trace::{DatagramEvent, End, Peer, ServerEvent, StreamEvent, What};
use crate::world::{Connection, World};

/// The name of the server's host.
pub(crate) const SERVER: &str = "server";

const TCP_PORT: u16 = 9990;
pub(crate) const UDP_PORT: u16 = 8089;

/// The most bytes that a cut read or write moves.
const CUT_MAX: usize = 8;

/// Datagrams that the server takes at a time.
const BATCH: usize = 16;

/// The address of the server, from anywhere in the simulation.
pub(crate) fn server_datagram_address() -> SocketAddr {
    (turmoil::lookup(SERVER), UDP_PORT).into()
}

/// Where the server's connections come from.
pub(crate) struct Listener {
    inner: TcpListener,
    world: Rc<World>,
}

impl Listener {
    pub(crate) async fn bind(world: &Rc<World>) -> io::Result<Listener> {
        Ok(Listener {
            inner: TcpListener::bind((Ipv4Addr::UNSPECIFIED, TCP_PORT)).await?,
            world: Rc::clone(world),
        })
    }
}

impl chime_server::Listener for Listener {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        if self
            .world
            .happens(self.world.network().accept_error_percent)
        {
            self.world.record(What::Server(ServerEvent::CannotAccept));
            return Err(match self.world.below(2) {
                0 => io::ErrorKind::ConnectionAborted.into(),
                _ => io::Error::other("too many open files"),
            });
        }
        let (inner, client) = self.inner.accept().await?;
        let connection = self.world.accept(client);
        self.world
            .record_stream(&connection, End::Server, StreamEvent::Accepted);
        self.world.server_streams.update(|count| count + 1);
        Ok((
            Stream::new(inner, End::Server, connection, &self.world),
            client,
        ))
    }
}

/// Connects a client to the server.
pub(crate) async fn connect(world: &Rc<World>) -> io::Result<(Stream, usize)> {
    let inner = TcpStream::connect((SERVER, TCP_PORT)).await?;
    let connection = world.accepted(inner.local_addr()?);
    let index = connection.index;
    Ok((Stream::new(inner, End::Client, connection, world), index))
}

/// One end of a connection, which cuts and joins what goes through it, waits and fails as the scenario
/// has it, and records it all.
pub(crate) struct Stream {
    inner: TcpStream,
    end: End,
    connection: Rc<Connection>,
    world: Rc<World>,
    has_failed: bool,
    /// Whether it has just made someone wait for no reason, which it does not do twice in a row.
    has_waited: bool,
}

impl Stream {
    fn new(inner: TcpStream, end: End, connection: Rc<Connection>, world: &Rc<World>) -> Stream {
        Stream {
            inner,
            end,
            connection,
            world: Rc::clone(world),
            has_failed: false,
            has_waited: false,
        }
    }

    fn record(&self, event: StreamEvent) {
        self.world.record_stream(&self.connection, self.end, event);
    }

    /// What may happen to any read or write.
    fn poll_trouble(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let network = self.world.network();
        if self.has_failed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.world.happens(network.stream_error_percent) {
            self.has_failed = true;
            let error = io::Error::from(io::ErrorKind::ConnectionReset);
            return Poll::Ready(Err(self.failed(error, true)));
        }
        self.has_waited = !self.has_waited && self.world.happens(network.pending_percent);
        if self.has_waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn failed(&self, error: io::Error, is_injected: bool) -> io::Error {
        self.record(StreamEvent::Failed {
            error: error.to_string(),
            is_injected,
        });
        error
    }

    /// How many bytes a read or a write may move that could move so many.
    fn cut(&self, length: usize) -> usize {
        if length > 1 && self.is_free() && self.world.happens(self.world.network().cut_percent) {
            return 1 + self.world.below(CUT_MAX.min(length - 1));
        }
        length
    }

    /// Whether bytes may be cut and joined as it pleases.
    fn is_free(&self) -> bool {
        self.world.scenario.server.framing == Framing::Line
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_trouble(cx))?;
        let length = self.cut(buffer.remaining());
        let mut part = buffer.take(length);
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part));
        read.map_err(|error| self.failed(error, false))?;
        let is_glued = self.is_free() && self.world.happens(self.world.network().glue_percent);
        // What comes at the end is for the next read to see.
        while is_glued && !part.filled().is_empty() && part.remaining() > 0 {
            let before = part.filled().len();
            let more = Pin::new(&mut self.inner).poll_read(cx, &mut part);
            if !matches!(more, Poll::Ready(Ok(()))) || part.filled().len() == before {
                break;
            }
        }
        let bytes = Text::from(part.filled());
        let filled = bytes.len();
        // `part` has written to the same memory, and `buffer` is told how much.
        buffer.put_slice(&bytes);
        let flow = self.connection.incoming(self.end);
        flow.bytes.update(|before| before - filled);
        flow.wake_writer();
        self.record(match filled {
            0 => StreamEvent::ReadEnd,
            _ => StreamEvent::Read(bytes),
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_trouble(cx))?;
        let connection = Rc::clone(&self.connection);
        let flow = connection.outgoing(self.end);
        let room = match flow.is_closed.get() {
            false => {
                let window = self.world.network().window_bytes;
                window.saturating_sub(flow.bytes.get())
            }
            true => usize::MAX,
        };
        if room == 0 {
            self.record(StreamEvent::Blocked);
            flow.writer.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let length = match self.is_free() {
            true => self.cut(bytes.len().min(room)),
            false => bytes.len(),
        };
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[..length]));
        let written = written.map_err(|error| self.failed(error, false))?;
        flow.bytes.update(|before| before + written);
        self.record(StreamEvent::Wrote {
            bytes: bytes[..written].into(),
            is_short: written < bytes.len(),
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_trouble(cx))?;
        let shut = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        shut.map_err(|error| self.failed(error, false))?;
        self.record(StreamEvent::Shut);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.record(StreamEvent::Dropped);
        let flow = self.connection.incoming(self.end);
        flow.is_closed.set(true);
        flow.wake_writer();
        if self.end == End::Server {
            self.world.server_streams.update(|count| count - 1);
        }
    }
}

/// A socket for datagrams, which loses, doubles and changes them as the scenario has it.
///
/// A datagram begins with its number and with whom it claims to be from, which no one but this sees.
pub(crate) struct DatagramSocket {
    inner: UdpSocket,
    owner: Peer,
    world: Rc<World>,
}

const HEADER_BYTES: usize = 14;

/// What is received of a datagram, at most.
const PACKET_MAX: usize = 2048;

impl DatagramSocket {
    /// The server's.
    pub(crate) async fn bind(world: &Rc<World>) -> io::Result<DatagramSocket> {
        DatagramSocket::bind_port(world, UDP_PORT, Peer::Server).await
    }

    /// A client's.
    pub(crate) async fn bind_client(world: &Rc<World>, client: usize) -> io::Result<Self> {
        DatagramSocket::bind_port(world, 0, Peer::Client(client)).await
    }

    async fn bind_port(world: &Rc<World>, port: u16, owner: Peer) -> io::Result<DatagramSocket> {
        Ok(DatagramSocket {
            inner: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
            owner,
            world: Rc::clone(world),
        })
    }

    /// The address of this socket as others see it.
    pub(crate) fn address(&self, host: &str) -> io::Result<SocketAddr> {
        Ok((turmoil::lookup(host), self.inner.local_addr()?.port()).into())
    }

    /// Sends `bytes` to `to`, as if from `from`.
    pub(crate) async fn send(
        &self,
        bytes: &[u8],
        from: SocketAddr,
        to: SocketAddr,
    ) -> io::Result<()> {
        let network = self.world.network();
        let datagram = self.number(bytes, from, to);
        if self.world.happens(network.loss_percent) {
            self.record(datagram, DatagramEvent::Lost);
            return Ok(());
        }
        let mut arriving = bytes.to_vec();
        if !bytes.is_empty() && self.world.happens(network.corruption_percent) {
            let index = self.world.below(arriving.len());
            match self.world.below(3) {
                0 => arriving.truncate(index),
                _ => arriving[index] ^= 1 << self.world.below(8),
            }
            self.record(datagram, DatagramEvent::Corrupted(Text(arriving.clone())));
        }
        self.inner
            .send_to(&packet(datagram, from, &arriving), to)
            .await?;
        if self.world.happens(network.duplication_percent) {
            let duplicate = self.number(&arriving, from, to);
            self.record(datagram, DatagramEvent::Duplicated { duplicate });
            self.inner
                .send_to(&packet(duplicate, from, &arriving), to)
                .await?;
        }
        Ok(())
    }

    /// Receives a datagram and whom it claims to be from.
    pub(crate) async fn receive(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; PACKET_MAX];
        let (length, _) = self.inner.recv_from(&mut buffer).await?;
        Ok(self.received(&buffer[..length]))
    }

    /// A datagram that has come, if there is one.
    fn take_waiting(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; PACKET_MAX];
        let (length, _) = self.inner.try_recv_from(&mut buffer).ok()?;
        Some(self.received(&buffer[..length]))
    }

    fn number(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> usize {
        let datagram = self.world.next_datagram();
        let (by, bytes) = (self.owner, bytes.into());
        self.record(
            datagram,
            DatagramEvent::Sent {
                by,
                from,
                to,
                bytes,
            },
        );
        datagram
    }

    fn received(&self, packet: &[u8]) -> (Vec<u8>, SocketAddr) {
        let (header, bytes) = packet.split_at(HEADER_BYTES);
        let (datagram, from) = unpack(header);
        let by = self.owner;
        self.record(
            datagram,
            DatagramEvent::Received {
                by,
                from,
                bytes: bytes.into(),
            },
        );
        (bytes.to_vec(), from)
    }

    fn record(&self, datagram: usize, event: DatagramEvent) {
        self.world.record(What::Datagram { datagram, event });
    }
}

fn packet(datagram: usize, from: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let IpAddr::V4(ip) = from.ip() else {
        unreachable!("the simulated network has addresses of version 4");
    };
    let mut packet = datagram.to_le_bytes().to_vec();
    packet.extend(ip.octets());
    packet.extend(from.port().to_le_bytes());
    packet.extend(bytes);
    packet
}

fn unpack(header: &[u8]) -> (usize, SocketAddr) {
    let (datagram, from) = header.split_at(8);
    let datagram = usize::from_le_bytes(datagram.try_into().expect("8 bytes"));
    let ip: [u8; 4] = from[..4].try_into().expect("4 bytes");
    let port = u16::from_le_bytes([from[4], from[5]]);
    (datagram, (ip, port).into())
}

impl chime_server::Datagrams for DatagramSocket {
    async fn exchange<A>(&mut self, mut answer: A) -> io::Result<()>
    where
        A: FnMut(Datagram<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<usize>,
    {
        if self
            .world
            .happens(self.world.network().datagram_error_percent)
        {
            self.world.record(What::Server(ServerEvent::CannotReceive));
            return Err(io::Error::other("no buffer space available"));
        }
        let here = server_datagram_address();
        let mut taken = Some(self.receive().await?);
        let mut count = 0;
        while let Some((request, from)) = taken {
            let mut reply = [0; DATAGRAM_MAX];
            let datagram = Datagram {
                bytes: &request,
                from,
                is_for_host: true,
            };
            if let Some(length) = answer(datagram, &mut reply) {
                self.send(&reply[..length], here, from).await?;
            }
            count += 1;
            taken = if count < BATCH {
                self.take_waiting()
            } else {
                None
            };
        }
        Ok(())
    }
}

/// A client's socket that sends to the server and receives from it alone.
pub(crate) struct Connected {
    socket: DatagramSocket,
    here: SocketAddr,
    server: SocketAddr,
}

impl Connected {
    pub(crate) fn new(socket: DatagramSocket, host: &str) -> io::Result<Connected> {
        Ok(Connected {
            here: socket.address(host)?,
            socket,
            server: server_datagram_address(),
        })
    }
}

impl chime_client::Datagrams for Connected {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram, self.here, self.server).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let (bytes, from) = self.socket.receive().await?;
            if from == self.server {
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                return Ok(length);
            }
        }
    }
}
