//! The server of chime on the simulated host.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;

use chime_protocol::Framing;
use chime_server::{
    Addresses, Clock, Counter, CounterReader, CounterSnapshot, Counters, Datagram, ListenerConfig,
    Networks, Options, RateLimit,
};
use strum::VariantArray;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{DestinationAddress, Server, UdpSocket};
use crate::exec::{DatagramSocket, Listener, Received, ServerHost, Stream, millis, server_address};
use crate::trace::Gauges;

/// The name of the counter, and of the gauge, of free permits to be served.
pub(super) const PERMITS: &str = "permits";

/// The name of the gauge of free permits to be refused.
pub(super) const REFUSAL_PERMITS: &str = "refusal-permits";

/// The name of the gauge of open conversations.
pub(super) const CONVERSATIONS: &str = "conversations";

/// The name of the counter of ended conversations.
pub(super) const CONVERSATIONS_ENDED: &str = "conversations-ended";

/// Another address of the server, and the broadcast address of its network.
pub(super) const SECONDARY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 201);
pub(super) const BROADCAST: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 255);

/// The maximum number of datagrams that the server receives at a time.
pub(super) const BATCH_MAX: usize = 16;

/// Runs the server, and returns its counters by name, and the number of free permits.
pub(super) async fn serve(server: Server, host: ServerHost) -> io::Result<BTreeMap<String, u64>> {
    let options = options(&server, Clock::new(host.wall_clock()));
    let mut listeners = Vec::new();
    for (number, listener) in (0..).zip(&server.listeners) {
        let inner = host.listen(number).await?;
        let socket = Tcp {
            inner: match listener.framing {
                Framing::Line => inner,
                Framing::Read => inner.keep_writes(),
            },
            is_dual_stack: listener.is_dual_stack,
        };
        let config = ListenerConfig {
            service: listener.service,
            framing: listener.framing,
            proxies: listener
                .is_proxied()
                .then(|| listener.proxies.as_slice().into()),
        };
        listeners.push((socket, config));
    }
    let mut datagrams = Vec::new();
    for (number, udp_socket) in (0..).zip(&server.udp_sockets) {
        datagrams.push(Udp {
            inner: host.bind_datagrams(number).await?,
            number,
            udp_socket: *udp_socket,
        });
    }
    let counters: Vec<Counters> = (0..server.workers).map(|_| Counters::default()).collect();
    let readers: Vec<_> = counters.iter().map(Counters::reader).collect();
    let observed = (options.clone(), readers.clone());
    host.observe(move || gauges(&observed.0, &observed.1));
    let mut workers = JoinSet::new();
    for counters in counters {
        workers.spawn_local(chime_server::serve(
            listeners.clone(),
            datagrams.clone(),
            options.clone(),
            counters,
            host.shutdown().child_token(),
        ));
    }
    drop((listeners, datagrams));
    while let Some(ended) = workers.join_next().await {
        ended.expect("the worker does not panic");
    }
    let mut counters = by_name(&sum(&readers));
    let permits = options.connections.available_permits();
    counters.insert(PERMITS.into(), permits as u64);
    Ok(counters)
}

/// The options of the real server. They are complete, so that a new one has to become a setting here, too.
fn options(server: &Server, clock: Clock) -> Options {
    let addresses = NonZero::new(server.address_connections_max).expect("a limit is not 0");
    let rate = NonZero::new(server.datagram_rate).expect("a rate is not 0");
    Options {
        clock,
        connections: Arc::new(Semaphore::new(server.connections_max)),
        refusals: Arc::new(Semaphore::new(server.refusals_max)),
        addresses: Some(Arc::new(Addresses::new(addresses))),
        networks: Networks {
            allowed: server.allowed.clone(),
            denied: server.denied.clone(),
        },
        datagram_rate: Some(Arc::new(RateLimit::new(rate))),
        idle_timeout: millis(server.idle_timeout_ms),
        line_timeout: millis(server.line_timeout_ms),
        write_timeout: millis(server.write_timeout_ms),
        drain_timeout: millis(server.drain_timeout_ms),
    }
}

fn sum(workers: &[CounterReader]) -> CounterSnapshot {
    let mut total = CounterSnapshot::default();
    for counters in workers {
        total += counters.snapshot();
    }
    total
}

/// What the server holds: the free permits, the open conversations, and the connections of each address.
fn gauges(options: &Options, workers: &[CounterReader]) -> Gauges {
    let counters = sum(workers);
    let open = counters[Counter::ConnectionServed] - counters.conversations_ended();
    let permits = [
        (PERMITS, &options.connections),
        (REFUSAL_PERMITS, &options.refusals),
    ];
    let permits = permits.map(|(name, permits)| (name.into(), permits.available_permits() as u64));
    let addresses = options.addresses.iter().flat_map(|it| it.connections());
    let addresses = addresses.map(|(address, count)| (address.to_string(), count.into()));
    permits
        .into_iter()
        .chain([(CONVERSATIONS.into(), open)])
        .chain(addresses)
        .collect()
}

/// The name of a counter.
pub(super) fn name(counter: Counter) -> String {
    format!("{counter:?}")
}

/// The counters by name, those of requests by the name of the command.
fn by_name(snapshot: &CounterSnapshot) -> BTreeMap<String, u64> {
    let counters = Counter::VARIANTS
        .iter()
        .map(|counter| (name(*counter), snapshot[*counter]));
    let requests = snapshot.requests.iter();
    let ended = (CONVERSATIONS_ENDED.into(), snapshot.conversations_ended());
    counters
        .chain(requests.map(|(kind, count)| (kind.name().into(), count)))
        .chain([ended])
        .collect()
}

/// The address of a peer, as a socket sees it.
fn as_seen(peer: SocketAddr, is_dual_stack: bool) -> SocketAddr {
    match peer.ip() {
        IpAddr::V4(address) if is_dual_stack => (address.to_ipv6_mapped(), peer.port()).into(),
        _ => peer,
    }
}

/// A TCP listener.
#[derive(Clone)]
struct Tcp {
    inner: Listener,
    is_dual_stack: bool,
}

impl chime_server::Listener for Tcp {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await?;
        Ok((stream, as_seen(peer, self.is_dual_stack)))
    }
}

/// The address of the server that clients send datagrams to.
pub(super) fn destination(socket: u16, address: DestinationAddress) -> SocketAddr {
    let primary = server_address(socket);
    let ip = match address {
        DestinationAddress::Primary => return primary,
        DestinationAddress::Secondary => SECONDARY,
        DestinationAddress::Broadcast => BROADCAST,
        DestinationAddress::Multicast => Ipv4Addr::new(224, 0, 0, 1),
    };
    (ip, primary.port()).into()
}

/// A UDP socket.
#[derive(Clone)]
struct Udp {
    inner: DatagramSocket,
    number: u16,
    udp_socket: UdpSocket,
}

impl Udp {
    /// What the server sees of a received datagram.
    fn datagram(&self, received: &Received) -> Datagram {
        let UdpSocket {
            is_wildcard,
            is_dual_stack,
        } = self.udp_socket;
        let is_at = |address| received.to == destination(self.number, address);
        let mut datagram = Datagram::new(&received.bytes, as_seen(received.from, is_dual_stack));
        // Only a wildcard socket reports it.
        datagram.local = is_wildcard.then(|| received.to.ip());
        datagram.is_unicast =
            is_at(DestinationAddress::Primary) || is_at(DestinationAddress::Secondary);
        datagram
    }
}

impl chime_server::Datagrams for Udp {
    async fn receive(&mut self, batch: &mut Vec<Datagram>) -> io::Result<()> {
        let mut received = Some(self.inner.receive().await?);
        while let Some(datagram) = received {
            batch.push(self.datagram(&datagram));
            received = match batch.len() < BATCH_MAX {
                true => self.inner.try_receive(),
                false => None,
            };
        }
        Ok(())
    }

    async fn send(&mut self, batch: &[Datagram]) -> usize {
        let here = server_address(self.number);
        let mut count = 0;
        for reply in batch {
            let from = SocketAddr::new(reply.local.unwrap_or(here.ip()), here.port());
            let to = SocketAddr::new(reply.peer.ip().to_canonical(), reply.peer.port());
            count += usize::from(self.inner.send(reply.payload(), from, to).await.is_ok());
        }
        count
    }
}
