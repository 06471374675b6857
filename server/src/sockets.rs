//! Real sockets, and the threads that serve them.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
#[cfg(target_os = "linux")]
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use crate::datagram_socket::DatagramSocket;
#[cfg(not(target_os = "linux"))]
use crate::plain_datagram_socket::DatagramSocket;
use crate::workers::{Monitor, Vitals, Workers};
use crate::{Listener, Offer, Options, serve};

/// Connections that the kernel completes and holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Bytes of replies that the kernel holds for a client that takes none. It reckons twice as much for its own
/// needs, and would let it grow to megabytes otherwise.
const SEND_BUFFER: usize = 128 << 10;

/// How long the kernel keeps a connection whose client acknowledges nothing that was sent to it.
#[cfg(target_os = "linux")]
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Sockets that are bound: from here on clients can connect.
#[derive(Debug, Default)]
pub struct Sockets {
    tcp: Vec<(net::TcpListener, Offer)>,
    udp: Vec<net::UdpSocket>,
}

impl Sockets {
    /// Binds all of these addresses. Port 0 takes a free one.
    ///
    /// An IPv6 address serves IPv6 only.
    pub fn bind(tcp: &[(SocketAddr, Offer)], udp: &[SocketAddr]) -> Result<Sockets, BindError> {
        let mut sockets = Sockets::default();
        for (address, offer) in tcp {
            let listener = listen_on(*address).map_err(BindError::of("tcp", *address))?;
            sockets.tcp.push((listener, offer.clone()));
        }
        for address in udp {
            let socket = receive_on(*address).map_err(BindError::of("udp", *address))?;
            sockets.udp.push(socket);
        }
        Ok(sockets)
    }

    /// Serves a listener too that someone else has bound.
    pub fn adopt_listener(&mut self, listener: net::TcpListener, offer: Offer) -> io::Result<()> {
        prepare_listener(&listener)?;
        self.tcp.push((listener, offer));
        Ok(())
    }

    /// Serves a datagram socket too that someone else has bound.
    pub fn adopt_datagrams(&mut self, socket: net::UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        DatagramSocket::prepare(&socket, socket.local_addr()?)?;
        self.udp.push(socket);
        Ok(())
    }

    /// The addresses served over TCP, in the order of [`Sockets::bind`].
    pub fn tcp_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let listeners = self.tcp.iter().map(|(listener, _)| listener);
        listeners.map(net::TcpListener::local_addr).collect()
    }

    /// The addresses served over UDP, in the order of [`Sockets::bind`].
    pub fn udp_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.udp.iter().map(net::UdpSocket::local_addr).collect()
    }

    /// Serves until `stop` is cancelled and every conversation has ended, with a thread for each worker.
    pub fn start(
        self,
        workers: NonZero<usize>,
        options: &Options,
        stop: &CancellationToken,
    ) -> io::Result<Workers> {
        let seats = (0..workers.get())
            .map(|_| {
                Ok((
                    self.share()?,
                    Builder::new_current_thread().enable_all().build()?,
                ))
            })
            .collect::<io::Result<Vec<_>>>()?;
        drop(self);
        let stop_all = stop.child_token();
        let monitor = Monitor::new(workers);
        let serve_on_thread = |((sockets, runtime), vitals): ((Sockets, Runtime), &Arc<Vitals>)| {
            let (options, vitals) = (options.clone(), Arc::clone(vitals));
            // A token of its own, so that workers do not wait for each other's locks.
            let stop = stop_all.child_token();
            let stop_others = stop_all.clone().drop_guard();
            thread::spawn(move || {
                let _stop_others = stop_others;
                LocalSet::new().block_on(&runtime, sockets.serve_here(options, &vitals, stop))
            })
        };
        let threads = seats.into_iter().zip(monitor.vitals()).map(serve_on_thread);
        Ok(Workers::new(threads.collect(), monitor.clone()))
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
                .map(|(listener, offer)| Ok((listener.try_clone()?, offer.clone())))
                .collect::<io::Result<_>>()?,
            udp: self
                .udp
                .iter()
                .map(net::UdpSocket::try_clone)
                .collect::<io::Result<_>>()?,
        })
    }

    /// One worker.
    async fn serve_here(
        self,
        options: Options,
        vitals: &Vitals,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let listen = |(listener, offer)| Ok((TcpListener::from_std(listener)?, offer));
        let tcp = self.tcp.into_iter().map(listen);
        let udp = self.udp.into_iter().map(DatagramSocket::new);
        let tcp: Vec<_> = tcp.collect::<io::Result<_>>()?;
        let udp: Vec<_> = udp.collect::<io::Result<_>>()?;
        let counters = Arc::clone(&vitals.counters);
        tokio::select! {
            biased;
            () = serve(tcp, udp, options, counters, stop) => {}
            () = vitals.keep_beating() => {}
        }
        Ok(())
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
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = socket.into();
    prepare_listener(&listener)?;
    Ok(listener)
}

/// Sets what accepted connections inherit.
fn prepare_listener(listener: &net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let socket = SockRef::from(listener);
    // A reply never waits for the next one.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGEMENT_TIMEOUT))?;
    Ok(())
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

impl BindError {
    fn of(transport: &'static str, address: SocketAddr) -> impl FnOnce(io::Error) -> BindError {
        move |error| BindError {
            transport,
            address,
            error,
        }
    }
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
