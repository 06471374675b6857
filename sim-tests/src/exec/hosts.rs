//! The hosts: what the code of a server and of a client sees of the simulation.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use chrono::NaiveDateTime;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use super::datagrams::DatagramSocket;
use super::streams::{self, Listener, Stream};
use super::world::World;
use crate::Protocol;
use crate::scenario::Scenario;
use crate::trace::{ClientEvent, EventKind, Gauges, Peer, ServerEvent};

/// The name of the server's host.
pub(super) const SERVER: &str = "server";

/// The first port of the server, for TCP and UDP.
const SERVER_PORT: u16 = 9990;

/// The maximum number of listeners, and of sockets for datagrams, of a server.
pub const SERVER_SOCKETS_MAX: u16 = 10;

/// The pause between two attempts to verify the recovery.
const RECOVERY_PAUSE: Duration = Duration::from_millis(50);

/// The address of a listener of the server, or of a socket for datagrams. They are counted from 0.
pub fn server_address(socket: u16) -> SocketAddr {
    (turmoil::lookup(SERVER), SERVER_PORT + socket).into()
}

/// The listener or the socket for datagrams of the server that has this port.
pub(crate) fn server_socket(port: u16) -> Option<u16> {
    let socket = port.checked_sub(SERVER_PORT)?;
    (socket < SERVER_SOCKETS_MAX).then_some(socket)
}

pub(super) fn host_name(host: usize) -> String {
    format!("host-{host}")
}

/// The host of the server.
pub struct ServerHost {
    world: Rc<World>,
}

impl ServerHost {
    /// Binds a listening socket. The first is number 0.
    pub async fn listen(&self, socket: u16) -> io::Result<Listener> {
        Listener::bind(&self.world, SERVER_PORT + socket).await
    }

    /// Binds a socket for datagrams. The first is number 0.
    pub async fn bind_datagrams(&self, socket: u16) -> io::Result<DatagramSocket> {
        DatagramSocket::bind(&self.world, SERVER_PORT + socket, Peer::Server).await
    }

    /// The wall clock of the server.
    pub fn wall_clock(&self) -> impl Fn() -> NaiveDateTime + Send + Sync + 'static {
        self.world.time.wall_clock()
    }

    /// Records these values in the trace whenever they have changed after a millisecond.
    pub fn observe(&self, gauges: impl Fn() -> Gauges + 'static) {
        self.world.server.gauges.replace(Some(Box::new(gauges)));
    }

    /// The token that is cancelled when the server has to shut down gracefully.
    pub fn shutdown(&self) -> CancellationToken {
        self.world.server.shutdown.borrow().clone()
    }
}

/// The host of a client.
#[derive(Clone)]
pub struct ClientHost {
    world: Rc<World>,
    client: usize,
    name: Rc<str>,
}

impl ClientHost {
    /// Connects to a listener of the server, and records how that ends.
    pub async fn connect(&self, listener: u16, patience: Duration) -> io::Result<Stream> {
        self.record(ClientEvent::Connects);
        let connect = streams::connect(&self.world, server_address(listener));
        let (stream, connection) = timeout(patience, connect).await??;
        self.record(ClientEvent::Connected { connection });
        Ok(stream)
    }

    /// Binds a socket for datagrams.
    pub async fn bind_datagrams(&self) -> io::Result<DatagramSocket> {
        DatagramSocket::bind(&self.world, 0, Peer::Client(self.client)).await
    }

    /// The address of a socket as the server sees it.
    pub fn address(&self, socket: &DatagramSocket) -> io::Result<SocketAddr> {
        Ok((self.ip(), socket.port()?).into())
    }

    /// The address of this host.
    pub fn ip(&self) -> IpAddr {
        turmoil::lookup(&*self.name)
    }

    /// Holds a connection to the end of the run without using it.
    pub fn forget(&self, stream: Stream) {
        self.record(ClientEvent::Forgets);
        self.world
            .clients
            .forgotten
            .borrow_mut()
            .push(Box::new(stream));
    }

    /// Adds an event to the trace.
    pub fn record(&self, event: ClientEvent) {
        let client = self.client;
        self.world.record(EventKind::Client { client, event });
    }

    fn begin(&self) {
        self.world.clients.working.borrow_mut().insert(self.client);
    }

    fn end(&self) {
        self.world.clients.working.borrow_mut().remove(&self.client);
        self.record(ClientEvent::Done);
    }
}

/// The software of the server's host.
pub(super) async fn run_server<P: Protocol>(
    server: P::Server,
    world: Rc<World>,
) -> turmoil::Result {
    world.server.shutdown.take();
    world.server.gauges.take();
    let host = ServerHost {
        world: Rc::clone(&world),
    };
    let serving = async move {
        host.world.server.is_up.set(true);
        host.world.record(EventKind::Server(ServerEvent::Started));
        P::serve(server, host).await.expect("the server runs")
    };
    // All tasks of the server are in this set, and none runs while the process is frozen.
    let process = LocalSet::new();
    let serving = process.spawn_local(serving);
    let mut running = pin!(process.run_until(serving));
    let ended = poll_fn(|cx| match world.server.is_frozen() {
        true => world.server.poll_thawed(cx),
        false => running.as_mut().poll(cx),
    });
    if let Ok(counters) = ended.await {
        world.server.is_up.set(false);
        world.record(EventKind::Server(ServerEvent::Stopped { counters }));
    }
    // A connect to a host without software would hang.
    std::future::pending().await
}

/// Adds the hosts of the clients, each with one more client that verifies the recovery.
pub(super) fn add_clients<P: Protocol>(
    sim: &mut Sim<'_>,
    scenario: &Scenario<P>,
    world: &Rc<World>,
) {
    for host in 0..scenario.host_count() {
        let name = host_name(host);
        let client_host = |client| ClientHost {
            world: Rc::clone(world),
            client,
            name: name.as_str().into(),
        };
        let clients = scenario.clients.iter().enumerate();
        let clients: Vec<_> = clients
            .filter(|(_, client)| client.host == host)
            .map(|(index, client)| (client_host(index), client.clone()))
            .collect();
        let last = client_host(scenario.clients.len() + host);
        for host in clients.iter().map(|(host, _)| host).chain([&last]) {
            host.begin();
        }
        let (server, heal_ms) = (scenario.server.clone(), scenario.heal_ms);
        sim.client(name, async move {
            let mut tasks = JoinSet::new();
            for (host, client) in clients {
                let server = server.clone();
                tasks.spawn_local(async move {
                    sleep(millis(client.start_ms)).await;
                    P::run_client(client.behaviour, server, host.clone()).await;
                    host.end();
                });
            }
            tasks.spawn_local(async move {
                sleep(millis(heal_ms)).await;
                while !P::verify_recovery(server.clone(), &last).await {
                    sleep(RECOVERY_PAUSE).await;
                }
                last.end();
            });
            while tasks.join_next().await.is_some() {}
            // A host without software receives nothing.
            std::future::pending().await
        });
        let address = sim.lookup(host_name(host));
        world.clients.addresses.borrow_mut().push(address);
    }
}

pub(crate) fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}
