//! Connections that are cut and joined, that wait and fail.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use chime_protocol::Framing;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use turmoil::net::{TcpListener, TcpStream};

use super::SERVER;
use crate::scenario::Text;
use crate::trace::{End, EventKind, ServerEvent, StreamEvent};
use crate::world::{Connection, World};

const TCP_PORT: u16 = 9990;

/// The most bytes that a cut read or write moves.
const CUT_MAX: usize = 8;

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
            self.world
                .record(EventKind::Server(ServerEvent::CannotAccept));
            return Err(match self.world.below(2) {
                0 => io::ErrorKind::ConnectionAborted.into(),
                _ => io::Error::other("too many open files"),
            });
        }
        // As a socket of tokio does.
        coop::consume_budget().await;
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
        // Like a socket of tokio: every operation costs budget, and is pending without it.
        let operations = match self.has_waited {
            true => usize::from(u8::MAX),
            false => 1,
        };
        for _ in 0..operations {
            ready!(coop::poll_proceed(cx)).made_progress();
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
