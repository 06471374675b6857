//! Real sockets, and the threads that serve them.

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
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use crate::datagram_socket::DatagramSocket;
#[cfg(not(target_os = "linux"))]
use crate::plain_datagram_socket::DatagramSocket;
use crate::tcp::BACKLOG;
use crate::workers::{Stats, Workers};
use crate::{Listener, ListenerConfig, Options, serve};

/// Bytes of unsent replies that the kernel holds for a slow reader. What has been sent is for the client's
/// kernel to hold, so this bounds the memory, and has a socket report at once that the client reads.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 16 << 10;

/// Events that the I/O driver of a worker reports at a time: of all its connections, so that after the
/// quiet period all input that has arrived is known.
const IO_EVENTS: usize = 16_384;

/// How long the kernel keeps a connection whose client acknowledges nothing that was sent to it.
#[cfg(target_os = "linux")]
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Sockets that are bound: from here on clients can connect.
#[derive(Debug, Default)]
pub struct Sockets {
    tcp: Vec<(net::TcpListener, ListenerConfig)>,
    udp: Vec<net::UdpSocket>,
}

impl Sockets {
    /// Binds all of these addresses. Port 0 takes a free one.
    ///
    /// An IPv6 address serves IPv6 only.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound; the message names it.
    pub fn bind(tcp: &[(SocketAddr, ListenerConfig)], udp: &[SocketAddr]) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for (address, config) in tcp {
            let listener = listen_on(*address).map_err(|e| cannot_listen("tcp", *address, e))?;
            sockets.tcp.push((listener, config.clone()));
        }
        for address in udp {
            let socket = receive_on(*address).map_err(|e| cannot_listen("udp", *address, e))?;
            sockets.udp.push(socket);
        }
        Ok(sockets)
    }

    /// Serves a listener too that someone else has bound.
    pub fn adopt_listener(
        &mut self,
        listener: net::TcpListener,
        config: ListenerConfig,
    ) -> io::Result<()> {
        prepare_listener(&listener)?;
        self.tcp.push((listener, config));
        Ok(())
    }

    /// Serves a datagram socket too that someone else has bound.
    pub fn adopt_datagrams(&mut self, socket: net::UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        check_unicast(address).map_err(|error| cannot_listen("udp", address, error))?;
        DatagramSocket::prepare(&socket, address)?;
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

    /// Serves until `stop` is cancelled and every connection has ended, with a thread for each worker.
    ///
    /// # Errors
    ///
    /// When there are not enough file descriptors, most often. No worker is left behind then.
    pub fn start(
        self,
        workers: NonZero<usize>,
        options: &Options,
        stop: &CancellationToken,
    ) -> io::Result<Workers> {
        let worker = |_| {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_io_events_per_tick(IO_EVENTS)
                .build()?;
            let sockets = self.register(&runtime)?;
            Ok((runtime, sockets))
        };
        let ready: Vec<_> = (0..workers.get()).map(worker).collect::<io::Result<_>>()?;
        drop(self);
        let stop_all = stop.child_token();
        let stop_on_error = stop_all.clone().drop_guard();
        let stats = Stats::new(workers.get());
        let mut threads = Vec::new();
        for ((runtime, (tcp, udp)), worker_stats) in ready.into_iter().zip(&*stats.workers) {
            let (options, worker_stats) = (options.clone(), Arc::clone(worker_stats));
            // A token of its own, so that workers do not wait for each other's locks.
            let stop = stop_all.child_token();
            let stop_others = stop_all.clone().drop_guard();
            threads.push(thread::Builder::new().spawn(move || {
                let _stop_others = stop_others;
                let counters = Arc::clone(&worker_stats.counters);
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = serve(tcp, udp, options, counters, stop) => {}
                        () = worker_stats.beat() => {}
                    }
                });
            })?);
        }
        stop_on_error.disarm();
        Ok(Workers { threads, stats })
    }

    /// Registers the same sockets once more, with the runtime of a worker.
    ///
    /// Workers share sockets rather than have one each on the same port (`SO_REUSEPORT`): that would
    /// let a second server take a part of the clients unseen.
    fn register(&self, runtime: &Runtime) -> io::Result<Registered> {
        let _context = runtime.enter();
        let listen = |(listener, config): &(net::TcpListener, ListenerConfig)| {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            Ok((listener, config.clone()))
        };
        let receive = |socket: &net::UdpSocket| DatagramSocket::new(socket.try_clone()?);
        Ok((
            self.tcp.iter().map(listen).collect::<io::Result<_>>()?,
            self.udp.iter().map(receive).collect::<io::Result<_>>()?,
        ))
    }
}

/// The sockets of a worker.
type Registered = (Vec<(TcpListener, ListenerConfig)>, Vec<DatagramSocket>);

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

fn cannot_listen(transport: &str, address: SocketAddr, error: io::Error) -> io::Error {
    let message = format!("cannot listen on {transport} {address}: {error}");
    io::Error::new(error.kind(), message)
}

fn listen_on(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = new_socket(address, Type::STREAM)?;
    // Not kept from a restart by connections of the past. This admits no second listener.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
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
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
        socket.set_tcp_user_timeout(Some(ACKNOWLEDGEMENT_TIMEOUT))?;
    }
    Ok(())
}

fn receive_on(address: SocketAddr) -> io::Result<net::UdpSocket> {
    check_unicast(address)?;
    let socket = new_socket(address, Type::DGRAM)?;
    DatagramSocket::prepare(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A socket bound to a broadcast or multicast address would receive what was sent to many hosts.
fn check_unicast(address: SocketAddr) -> io::Result<()> {
    // Without SO_BROADCAST, the kernel refuses to connect to any broadcast address of its networks.
    let connect = || new_socket(address, Type::DGRAM)?.connect(&address.into());
    let is_broadcast = !address.ip().is_unspecified()
        && connect().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    match is_broadcast || address.ip().to_canonical().is_multicast() {
        true => Err(io::Error::other("not a unicast address")),
        false => Ok(()),
    }
}

fn new_socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
