//! Real sockets, and the threads that serve them.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::num::NonZero;
use std::panic;
use std::thread;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use crate::datagram_socket::DatagramSocket;
#[cfg(not(target_os = "linux"))]
use crate::plain_datagram_socket::DatagramSocket;
use crate::{Listener, Options, Tally, serve};

/// Connections that the kernel completes and holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Sockets that are bound: from here on clients can connect.
#[derive(Debug)]
pub struct Sockets {
    tcp: Vec<net::TcpListener>,
    udp: Vec<net::UdpSocket>,
}

impl Sockets {
    /// Binds all of these addresses. Port 0 takes a free one.
    ///
    /// An IPv6 address serves IPv6 only.
    pub fn bind(tcp: &[SocketAddr], udp: &[SocketAddr]) -> Result<Sockets, BindError> {
        let error_of = |transport, address| {
            move |error| BindError {
                transport,
                address,
                error,
            }
        };
        let listen = |address: &SocketAddr| listen_on(*address).map_err(error_of("tcp", *address));
        let receive =
            |address: &SocketAddr| receive_on(*address).map_err(error_of("udp", *address));
        Ok(Sockets {
            tcp: tcp.iter().map(listen).collect::<Result<_, _>>()?,
            udp: udp.iter().map(receive).collect::<Result<_, _>>()?,
        })
    }

    /// The addresses served over TCP, in the order of [`Sockets::bind`].
    pub fn tcp_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(net::TcpListener::local_addr).collect()
    }

    /// The addresses served over UDP, in the order of [`Sockets::bind`].
    pub fn udp_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.udp.iter().map(net::UdpSocket::local_addr).collect()
    }

    /// Serves until `stop` is cancelled and every conversation has ended, with a thread for each worker.
    ///
    /// # Panics
    ///
    /// When a worker panics, once the others have stopped too.
    pub fn serve(
        self,
        workers: NonZero<usize>,
        options: &Options,
        stop: &CancellationToken,
    ) -> io::Result<Tally> {
        let workers = (0..workers.get())
            .map(|_| {
                Ok((
                    self.share()?,
                    Builder::new_current_thread().enable_all().build()?,
                ))
            })
            .collect::<io::Result<Vec<_>>>()?;
        drop(self);
        let stop_all = stop.child_token();
        let serve_on_thread = |(sockets, runtime): (Sockets, Runtime)| {
            let options = options.clone();
            // A token of its own, so that workers do not wait for each other's locks.
            let stop = stop_all.child_token();
            let stop_others = stop_all.clone().drop_guard();
            thread::spawn(move || {
                let _stop_others = stop_others;
                LocalSet::new().block_on(&runtime, sockets.serve_here(options, stop))
            })
        };
        let threads: Vec<_> = workers.into_iter().map(serve_on_thread).collect();
        let mut total = Tally::default();
        for thread in threads {
            total += thread
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        }
        Ok(total)
    }

    /// The same sockets once more.
    ///
    /// Workers share sockets rather than have one each on the same port (`SO_REUSEPORT`): that would
    /// let a second server take a part of the clients unseen.
    fn share(&self) -> io::Result<Sockets> {
        Ok(Sockets {
            tcp: self
                .tcp
                .iter()
                .map(net::TcpListener::try_clone)
                .collect::<io::Result<_>>()?,
            udp: self
                .udp
                .iter()
                .map(net::UdpSocket::try_clone)
                .collect::<io::Result<_>>()?,
        })
    }

    /// One worker.
    async fn serve_here(self, options: Options, stop: CancellationToken) -> io::Result<Tally> {
        let tcp = self.tcp.into_iter().map(TcpListener::from_std);
        let udp = self.udp.into_iter().map(DatagramSocket::new);
        let tcp: Vec<_> = tcp.collect::<io::Result<_>>()?;
        let udp: Vec<_> = udp.collect::<io::Result<_>>()?;
        Ok(serve(tcp, udp, options, stop).await)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

fn listen_on(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = new_socket(address, Type::STREAM)?;
    // Not kept from a restart by connections of the past. This admits no second listener.
    socket.set_reuse_address(true)?;
    // Accepted connections inherit it: a reply never waits for the next one.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn receive_on(address: SocketAddr) -> io::Result<net::UdpSocket> {
    let socket = new_socket(address, Type::DGRAM)?;
    DatagramSocket::prepare(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// An address that cannot be served.
#[derive(Debug)]
pub struct BindError {
    transport: &'static str,
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError {
            transport,
            address,
            error,
        } = self;
        write!(f, "cannot listen on {transport} {address}: {error}")
    }
}

impl Error for BindError {}
