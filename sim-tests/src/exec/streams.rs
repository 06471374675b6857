//! TCP: turmoil delivers each write whole and at once, so these streams cut, glue, delay and fail what passes through.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::hosts::server_socket;
use super::world::{World, poll_budget};
use crate::scenario::Text;
use crate::trace::{End, EventKind, ServerEvent, StreamEvent};

/// The maximum number of bytes that a cut read or write moves.
const CUT_MAX: usize = 8;

/// The connections whose client end is not yet known, by the address of the client.
#[derive(Default)]
pub(super) struct Connections {
    accepted: RefCell<BTreeMap<SocketAddr, Rc<Connection>>>,
    count: Cell<usize>,
}

/// The state that the two ends of a connection share.
struct Connection {
    index: usize,
    to_server: Flow,
    to_client: Flow,
    /// Whether a read returns exactly what one write has sent.
    keeps_writes: bool,
}

/// One direction of a connection.
#[derive(Default)]
struct Flow {
    /// The number of bytes that were written and not yet read.
    bytes: Cell<usize>,
    /// Whether the reader has dropped its end.
    is_closed: Cell<bool>,
    writer: RefCell<Option<Waker>>,
}

impl Flow {
    fn wake_writer(&self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Connection {
    /// The direction into which this end writes.
    fn outgoing(&self, end: End) -> &Flow {
        match end {
            End::Client => &self.to_server,
            End::Server => &self.to_client,
        }
    }

    /// The direction from which this end reads.
    fn incoming(&self, end: End) -> &Flow {
        self.outgoing(end.other())
    }
}

/// A listening socket of the server. Clones share it, as the threads of a process do.
#[derive(Clone)]
pub struct Listener {
    inner: Rc<TcpListener>,
    keeps_writes: bool,
    world: Rc<World>,
}

impl Listener {
    pub(super) async fn bind(world: &Rc<World>, port: u16) -> io::Result<Listener> {
        Ok(Listener {
            inner: Rc::new(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?),
            keeps_writes: false,
            world: Rc::clone(world),
        })
    }

    /// Makes each read return exactly what one write has sent: streams are neither cut nor glued.
    pub fn keep_writes(self) -> Listener {
        Listener {
            keeps_writes: true,
            ..self
        }
    }

    /// Accepts a connection; returns it with the address of the client.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let world = &self.world;
        if world.chance.happens(|network| network.accept_error_percent) {
            let (event, error) = match world.chance.below(2) {
                0 => (
                    ServerEvent::AcceptAborted,
                    io::ErrorKind::ConnectionAborted.into(),
                ),
                _ => (
                    ServerEvent::CannotAccept,
                    io::Error::other("too many open files"),
                ),
            };
            world.record(EventKind::Server(event));
            return Err(error);
        }
        world.chance.let_others_run().await;
        let (inner, client) = self.inner.accept().await?;
        let port = self.inner.local_addr()?.port();
        let connection = Rc::new(Connection {
            index: world
                .connections
                .count
                .replace(world.connections.count.get() + 1),
            to_server: Flow::default(),
            to_client: Flow::default(),
            keeps_writes: self.keeps_writes,
        });
        let accepted = &world.connections.accepted;
        accepted.borrow_mut().insert(client, Rc::clone(&connection));
        world.server.stream_count.update(|count| count + 1);
        let stream = Stream::new(inner, End::Server, connection, world);
        stream.record(StreamEvent::Accepted {
            from: client,
            listener: server_socket(port).expect("it has a port of the server"),
        });
        Ok((stream, client))
    }
}

/// Connects a client to the server; returns the stream and the number of the connection.
pub(super) async fn connect(world: &Rc<World>, to: SocketAddr) -> io::Result<(Stream, usize)> {
    let inner = TcpStream::connect(to).await;
    // The message of turmoil is the address.
    let inner = inner.map_err(|error| io::Error::from(error.kind()))?;
    let client = inner.local_addr()?;
    let connection = world.connections.accepted.borrow_mut().remove(&client);
    let connection = connection.expect("the server has accepted");
    let index = connection.index;
    Ok((Stream::new(inner, End::Client, connection, world), index))
}

/// One end of a connection. It cuts, glues, delays and fails what passes through it, and records it.
pub struct Stream {
    inner: TcpStream,
    end: End,
    connection: Rc<Connection>,
    world: Rc<World>,
    has_failed: bool,
    /// Whether the last operation was pending without a reason, which does not happen twice in a row.
    was_pending: bool,
}

impl Stream {
    fn new(inner: TcpStream, end: End, connection: Rc<Connection>, world: &Rc<World>) -> Stream {
        Stream {
            inner,
            end,
            connection,
            world: Rc::clone(world),
            has_failed: false,
            was_pending: false,
        }
    }

    fn record(&self, event: StreamEvent) {
        self.world.record(EventKind::Stream {
            connection: self.connection.index,
            end: self.end,
            event,
        });
    }

    /// Returns a future that waits until the other end has been dropped.
    ///
    /// It has to be in the task that writes to this end.
    pub fn other_end_dropped(&self) -> impl Future<Output = ()> + 'static {
        let (connection, end) = (Rc::clone(&self.connection), self.end);
        poll_fn(move |cx| {
            let flow = connection.outgoing(end);
            if flow.is_closed.get() {
                return Poll::Ready(());
            }
            flow.writer.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
    }

    /// Fails or is pending, as any operation may.
    fn poll_trouble(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let error = io::Error::from(io::ErrorKind::ConnectionReset);
        if self.has_failed {
            return Poll::Ready(Err(error));
        }
        let chance = &self.world.chance;
        if chance.happens(|network| network.stream_error_percent) {
            self.has_failed = true;
            return Poll::Ready(Err(self.failed(error, true)));
        }
        self.was_pending = !self.was_pending && chance.happens(|network| network.pending_percent);
        poll_budget(cx, self.was_pending).map(Ok)
    }

    fn failed(&self, error: io::Error, is_injected: bool) -> io::Error {
        self.record(StreamEvent::Failed {
            error: error.to_string(),
            is_injected,
        });
        error
    }

    /// Returns how many of `length` bytes this transfer moves.
    fn cut(&self, length: usize) -> usize {
        let is_cut = length > 1
            && self.may_cut()
            && self.world.chance.happens(|network| network.cut_percent);
        match is_cut {
            true => 1 + self.world.chance.below(CUT_MAX.min(length - 1)),
            false => length,
        }
    }

    fn may_cut(&self) -> bool {
        !self.connection.keeps_writes
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
        let is_glued = self.may_cut() && self.world.chance.happens(|network| network.glue_percent);
        // EOF is left to the next read.
        while is_glued && !part.filled().is_empty() && part.remaining() > 0 {
            let before = part.filled().len();
            let more = Pin::new(&mut self.inner).poll_read(cx, &mut part);
            if !matches!(more, Poll::Ready(Ok(()))) || part.filled().len() == before {
                break;
            }
        }
        let bytes = Text::from(part.filled());
        let filled = bytes.len();
        // `part` is the same memory; this sets the filled length of `buffer`.
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
                let window = self.world.chance.network().window_bytes;
                window.saturating_sub(flow.bytes.get())
            }
            true => usize::MAX,
        };
        if room == 0 {
            self.record(StreamEvent::Blocked);
            flow.writer.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let length = match self.may_cut() {
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
            self.world.server.stream_count.update(|count| count - 1);
        }
    }
}
