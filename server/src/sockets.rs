//! Real sockets, and the worker threads that serve them.

use std::io;
use std::net::{self, Ipv4Addr, SocketAddr};
use std::num::NonZero;
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
use crate::workers::{WorkerStats, Workers};
use crate::{Listener, ListenerConfig, Options, serve};

/// Bytes of unsent replies that the kernel buffers for a slow reader (`TCP_NOTSENT_LOWAT`). It bounds the
/// memory, and makes a socket writable as soon as the client reads.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 16 << 10;

/// Events that a worker's I/O driver reports per poll: more than the default connection limit, so that the
/// quiet period suffices to report all input that has arrived.
const IO_EVENTS: usize = 16_384;

/// How long the kernel keeps a connection whose client acknowledges no data (`TCP_USER_TIMEOUT`).
#[cfg(target_os = "linux")]
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Bound sockets. Clients can connect, and wait in the backlog until [`Sockets::start`].
#[derive(Debug, Default)]
pub struct Sockets {
    tcp: Vec<(net::TcpListener, ListenerConfig)>,
    udp: Vec<net::UdpSocket>,
}

impl Sockets {
    /// Binds these addresses. Port 0 binds a free port, and an IPv6 address serves IPv6 only.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound. The message names it.
    pub fn bind(tcp: &[(SocketAddr, ListenerConfig)], udp: &[SocketAddr]) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for (address, config) in tcp {
            let listener = bind_tcp(*address).map_err(|e| bind_error("tcp", *address, e))?;
            sockets.tcp.push((listener, config.clone()));
        }
        for address in udp {
            let socket = bind_udp(*address).map_err(|e| bind_error("udp", *address, e))?;
            sockets.udp.push(socket);
        }
        Ok(sockets)
    }

    /// Adds a listener bound by another process, such as a service manager.
    pub fn adopt_listener(
        &mut self,
        listener: net::TcpListener,
        config: ListenerConfig,
    ) -> io::Result<()> {
        prepare_listener(&listener)?;
        self.tcp.push((listener, config));
        Ok(())
    }

    /// Adds a UDP socket bound by another process, such as a service manager.
    ///
    /// # Errors
    ///
    /// If its address is not unicast, or a socket option cannot be set.
    pub fn adopt_datagrams(&mut self, socket: net::UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        check_unicast(address).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot serve udp {address}: {error}"))
        })?;
        DatagramSocket::prepare(&socket, address)?;
        self.udp.push(socket);
        Ok(())
    }

    /// Returns the local addresses of the TCP listeners, in the order in which they were added.
    pub fn tcp_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let listeners = self.tcp.iter().map(|(listener, _)| listener);
        listeners.map(net::TcpListener::local_addr).collect()
    }

    /// Returns the local addresses of the UDP sockets, in the order in which they were added.
    pub fn udp_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.udp.iter().map(net::UdpSocket::local_addr).collect()
    }

    /// Starts one thread per worker. They serve until `stop` is cancelled and every connection has ended.
    ///
    /// # Errors
    ///
    /// Most often for a lack of file descriptors. No worker keeps running then.
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
            let (tcp, udp) = self.register(&runtime)?;
            let options = options.clone();
            Ok(move |counters, worker_stats: &WorkerStats, stop| {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = serve(tcp, udp, options, counters, stop) => {}
                        () = worker_stats.beat() => {}
                    }
                });
            })
        };
        let workers = (0..workers.get()).map(worker).collect::<io::Result<_>>()?;
        drop(self);
        Workers::start(workers, stop)
    }

    /// Registers duplicates of the sockets with a worker's runtime.
    ///
    /// Workers share sockets. With one socket each (`SO_REUSEPORT`), a second server could bind the same
    /// port and silently receive some of the connections.
    fn register(&self, runtime: &Runtime) -> io::Result<WorkerSockets> {
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

/// The sockets registered with one worker's runtime.
type WorkerSockets = (Vec<(TcpListener, ListenerConfig)>, Vec<DatagramSocket>);

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

fn bind_error(transport: &str, address: SocketAddr, error: io::Error) -> io::Error {
    let kind = error.kind();
    let reason = match kind {
        io::ErrorKind::AddrInUse => format!("{kind} (is another server running?)"),
        io::ErrorKind::AddrNotAvailable => format!("{kind} (does this host have it?)"),
        io::ErrorKind::PermissionDenied => format!("{kind} (try a port above 1023)"),
        _ => error.to_string(),
    };
    io::Error::new(kind, format!("cannot bind {transport} {address}: {reason}"))
}

fn bind_tcp(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = new_socket(address, Type::STREAM)?;
    // Lets a restart bind the port despite connections in TIME_WAIT. A second listener still fails.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    let listener = socket.into();
    prepare_listener(&listener)?;
    Ok(listener)
}

/// Sets the options that accepted connections inherit.
fn prepare_listener(listener: &net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let socket = SockRef::from(listener);
    // Without it, Nagle's algorithm would delay replies.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
        socket.set_tcp_user_timeout(Some(ACKNOWLEDGEMENT_TIMEOUT))?;
    }
    Ok(())
}

fn bind_udp(address: SocketAddr) -> io::Result<net::UdpSocket> {
    check_unicast(address)?;
    let socket = new_socket(address, Type::DGRAM)?;
    DatagramSocket::prepare(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Rejects broadcast and multicast addresses: many hosts would reply to one request (amplification).
fn check_unicast(address: SocketAddr) -> io::Result<()> {
    let ip = address.ip().to_canonical();
    // Without SO_BROADCAST, connecting to a broadcast address of a local network fails.
    let connect = || new_socket(address, Type::DGRAM)?.connect(&address.into());
    let is_broadcast = !ip.is_unspecified()
        && connect().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    // Without a route, connecting to 255.255.255.255 fails for that reason instead.
    match is_broadcast || ip == Ipv4Addr::BROADCAST || ip.is_multicast() {
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{Ipv4Addr, SocketAddr};

    use super::bind_error;

    /// The other errors are tested with real sockets; root may bind any port.
    #[test]
    fn a_privileged_port_is_rejected_with_a_remedy() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let error = bind_error("tcp", address, io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            error.to_string(),
            "cannot bind tcp 127.0.0.1:80: permission denied (try a port above 1023)"
        );
    }
}
