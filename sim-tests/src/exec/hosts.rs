//! The hosts: what the code of a server and of a client sees of the simulation.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use super::datagrams::DatagramSocket;
use super::streams::{self, Listener, Stream};
use super::world::World;
use crate::Protocol;
use crate::scenario::Scenario;
use crate::trace::{ClientEvent, EventKind, Peer, ServerEvent};

/// The name of the server's host.
pub(super) const SERVER: &str = "server";

/// The port of the server, for TCP and UDP.
pub const SERVER_PORT: u16 = 9990;

/// The pause between two attempts to verify the recovery.
const RECOVERY_PAUSE: Duration = Duration::from_millis(50);

/// The address of the server, for TCP and UDP.
pub fn server_address() -> SocketAddr {
    (turmoil::lookup(SERVER), SERVER_PORT).into()
}

pub(super) fn host_name(host: usize) -> String {
    format!("host-{host}")
}

/// The host of the server.
pub struct ServerHost {
    world: Rc<World>,
}

impl ServerHost {
    /// Binds the listening socket.
    pub async fn listen(&self) -> io::Result<Listener> {
        Listener::bind(&self.world).await
    }

    /// Binds the socket for datagrams.
    pub async fn bind_datagrams(&self) -> io::Result<DatagramSocket> {
        DatagramSocket::bind(&self.world, SERVER_PORT, Peer::Server).await
    }

    /// Makes each read return exactly what one write has sent: streams are neither cut nor glued.
    pub fn keep_writes(&self) {
        self.world.server.keeps_writes.set(true);
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
    /// Connects to the server, and records how that ends.
    pub async fn connect(&self, patience: Duration) -> io::Result<Stream> {
        self.record(ClientEvent::Connects);
        let (stream, connection) = timeout(patience, streams::connect(&self.world)).await??;
        self.record(ClientEvent::Connected { connection });
        Ok(stream)
    }

    /// Binds a socket for datagrams.
    pub async fn bind_datagrams(&self) -> io::Result<DatagramSocket> {
        DatagramSocket::bind(&self.world, 0, Peer::Client(self.client)).await
    }

    /// The address of a socket as the server sees it.
    pub fn address(&self, socket: &DatagramSocket) -> io::Result<SocketAddr> {
        Ok((turmoil::lookup(&*self.name), socket.port()?).into())
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
    world.server.is_up.set(true);
    world.record(EventKind::Server(ServerEvent::Started));
    let host = ServerHost {
        world: Rc::clone(&world),
    };
    let serving = async move { P::serve(server, host).await.expect("the server runs") };
    if let Ok(counters) = spawn_local(serving).await {
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
    }
}

pub(crate) fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}
