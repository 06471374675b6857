//! Running a scenario.

use std::any::Any;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chime_server::{Counters, ListenerConfig, Options, serve};
use chrono::TimeDelta;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet, spawn_local};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use turmoil::{Builder, Sim};

use crate::clients::ClientTask;
use crate::network::{DatagramSocket, Listener, SERVER};
use crate::scenario::{FaultKind, Scenario};
use crate::trace::{EventKind, ServerEvent, Trace};
use crate::world::{World, clock};

/// Simulated time that passes at once, and no less than which anything takes.
const TICK: Duration = Duration::from_millis(1);

/// How long everything may take from when all has healed, beyond what the server's own limits allow.
const PATIENCE_MS: u32 = 60_000;

/// Runs a scenario: first with its faults, then until everyone has been served, then until the server has
/// stopped.
///
/// It is a pure function: the same scenario gives the same trace.
pub fn run(scenario: &Scenario) -> Trace {
    let world = Rc::new(World::new(scenario));
    let mut sim = simulation(scenario);
    let server_world = Rc::clone(&world);
    sim.host(SERVER, move || server(Rc::clone(&server_world)));
    add_clients(&mut sim, &world);

    let mut faults = Faults::new(scenario);
    let end_ms = scenario.heal_ms
        + scenario.server.idle_timeout_ms
        + scenario.server.drain_timeout_ms
        + PATIENCE_MS;
    let mut is_stopping = false;
    while !is_stopping || world.server_is_up() {
        world.tick();
        faults.strike(&mut sim, &world);
        if let Err(error) = sim.step() {
            world.record(EventKind::Panicked(error.to_string()));
            break;
        }
        if world.has_panicked() {
            break;
        }
        let clients = world.clients_at_work();
        let streams = world.server_streams.get();
        if world.now_ms() >= end_ms {
            world.record(EventKind::Stuck(format!(
                "clients {clients:?}, {streams} connections of the server"
            )));
            break;
        }
        if faults.is_over && clients.is_empty() && streams == 0 && !is_stopping {
            is_stopping = true;
            world.stop_server();
        }
    }
    let trace = world.take_trace();
    drop(sim);
    world.forgotten.take();
    trace
}

fn simulation<'a>(scenario: &Scenario) -> Sim<'a> {
    let network = &scenario.network;
    let millis = |millis: u32| Duration::from_millis(millis.into());
    Builder::new()
        .rng_seed(scenario.seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(Duration::MAX)
        .tick_duration(TICK)
        .enable_random_order()
        .min_message_latency(millis(network.latency_min_ms))
        .max_message_latency(millis(network.latency_max_ms.max(network.latency_min_ms)))
        // Of connections that wait to be accepted, too, and turmoil panics when they are more.
        .tcp_capacity(100_000)
        .udp_capacity(network.datagrams_max)
        .build()
}

/// The software of the server's host.
async fn server(world: Rc<World>) -> turmoil::Result {
    let stop = CancellationToken::new();
    world.stop.replace(stop.clone());
    let server = &world.scenario.server;
    let connections = Arc::new(Semaphore::new(server.connections_max));
    let config = ListenerConfig {
        service: server.service,
        framing: server.framing,
        proxies: None,
    };
    let options = Options {
        connections: Arc::clone(&connections),
        idle_timeout: Duration::from_millis(server.idle_timeout_ms.into()),
        line_timeout: Duration::from_millis(server.line_timeout_ms.into()),
        write_timeout: Duration::from_millis(server.write_timeout_ms.into()),
        drain_timeout: Duration::from_millis(server.drain_timeout_ms.into()),
        ..Options::new(clock, NonZero::<u32>::MIN)
    };
    let counters = Arc::new(Counters::default());
    let listener = Listener::bind(&world).await?;
    let datagrams = DatagramSocket::bind(&world).await?;
    world.record(EventKind::Server(ServerEvent::Started));
    let serving = spawn_local(serve(
        vec![(listener, config)],
        vec![datagrams],
        options,
        Arc::clone(&counters),
        stop,
    ));
    match serving.await {
        Ok(()) => world.record(EventKind::Server(ServerEvent::Stopped {
            snapshot: Box::new(counters.snapshot()),
            permits: connections.available_permits(),
        })),
        Err(error) => world.record(EventKind::Panicked(panic_text(error))),
    }
    // Who connects to a host without software waits for ever.
    std::future::pending().await
}

fn add_clients(sim: &mut Sim<'_>, world: &Rc<World>) {
    let scenario = &world.scenario;
    let mut hosts = vec![Vec::new(); scenario.host_count()];
    for client in &scenario.clients {
        hosts[client.host].push((world.add_client(), client.clone()));
    }
    for (host, clients) in hosts.into_iter().enumerate() {
        let name = host_name(host);
        let worker = |client| ClientTask {
            world: Rc::clone(world),
            client,
            host: name.clone(),
        };
        let mut tasks = JoinSet::new();
        let work: Vec<_> = clients
            .into_iter()
            .map(|(index, client)| (worker(index), client))
            .collect();
        let last = worker(world.add_client());
        let world = Rc::clone(world);
        sim.client(name, async move {
            for (worker, client) in work {
                tasks.spawn_local(async move {
                    sleep(Duration::from_millis(client.start_ms.into())).await;
                    worker.run(client.behaviour).await;
                });
            }
            let heal_ms = world.scenario.heal_ms;
            tasks.spawn_local(async move {
                sleep(Duration::from_millis(heal_ms.into())).await;
                last.verify_recovery().await;
            });
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    world.record(EventKind::Panicked(panic_text(error)));
                }
            }
            // A host without software receives nothing any more.
            std::future::pending().await
        });
    }
}

fn host_name(host: usize) -> String {
    format!("host-{host}")
}

/// What went wrong with a task, without its number, which no two runs share.
fn panic_text(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "cancelled".into();
    };
    let panic: &(dyn Any + Send) = &*panic;
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).into(),
        (None, None) => "with something that is no text".into(),
    }
}

/// The faults on their way.
struct Faults {
    /// Beginnings and ends, the last first.
    due: Vec<(u32, Strike)>,
    active: Vec<FaultKind>,
    /// What each host's link does.
    links: Vec<Link>,
    /// Whether all has healed.
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strike {
    Begin(usize),
    End(usize),
    Heal,
}

/// What the link between a host and the server does with messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Deliver,
    Hold,
    DropToServer,
    DropFromServer,
    Drop,
}

impl Faults {
    fn new(scenario: &Scenario) -> Faults {
        let heal_ms = scenario.heal_ms.max(1);
        let mut due = vec![(heal_ms, Strike::Heal)];
        for (index, fault) in scenario.faults.iter().enumerate() {
            let begin_ms = fault.at_ms.clamp(1, heal_ms);
            let end_ms = fault.at_ms.saturating_add(fault.for_ms).clamp(1, heal_ms);
            due.push((begin_ms, Strike::Begin(index)));
            due.push((end_ms, Strike::End(index)));
        }
        due.sort();
        due.reverse();
        Faults {
            due,
            active: Vec::new(),
            links: vec![Link::Deliver; scenario.host_count()],
            is_over: false,
        }
    }

    /// Does what is due now.
    fn strike(&mut self, sim: &mut Sim<'_>, world: &World) {
        while let Some((_, strike)) = self.due.pop_if(|(at_ms, _)| *at_ms <= world.now_ms()) {
            match strike {
                Strike::Begin(index) => self.begin(&world.scenario.faults[index].kind, sim, world),
                Strike::End(index) => self.end(&world.scenario.faults[index].kind, sim, world),
                Strike::Heal => {
                    self.is_over = true;
                    world.heal();
                }
            }
        }
    }

    fn begin(&mut self, kind: &FaultKind, sim: &mut Sim<'_>, world: &World) {
        world.record(EventKind::FaultBegan(kind.clone()));
        self.active.push(kind.clone());
        match kind {
            FaultKind::Crash => {
                world.server_is_killed();
                sim.crash(SERVER);
            }
            FaultKind::Stop => world.stop_server(),
            FaultKind::ClockStep { seconds } => world.step_clock(TimeDelta::seconds(*seconds)),
            _ => self.set_links(sim),
        }
    }

    fn end(&mut self, kind: &FaultKind, sim: &mut Sim<'_>, world: &World) {
        world.record(EventKind::FaultEnded(kind.clone()));
        let index = self.active.iter().position(|active| active == kind);
        self.active.remove(index.expect("what ends has begun"));
        match kind {
            FaultKind::Crash | FaultKind::Stop => {
                let is_down = |kind: &FaultKind| matches!(kind, FaultKind::Crash | FaultKind::Stop);
                if !self.active.iter().any(is_down) {
                    world.server_is_killed();
                    sim.bounce(SERVER);
                }
            }
            FaultKind::ClockStep { .. } => {}
            FaultKind::Slow { host, .. } => {
                let network = &world.scenario.network;
                let millis = |millis: u32| Duration::from_millis(millis.into());
                let (min, max) = (network.latency_min_ms, network.latency_max_ms);
                sim.set_link_latency(host_name(*host), SERVER, millis(min));
                sim.set_link_max_message_latency(host_name(*host), SERVER, millis(max.max(min)));
                self.set_links(sim);
            }
            _ => self.set_links(sim),
        }
    }

    /// Has each link do what the active faults ask for, the worst of them first.
    fn set_links(&mut self, sim: &mut Sim<'_>) {
        for (host, link) in self.links.iter_mut().enumerate() {
            let name = host_name(host);
            let is_active = |kind| self.active.contains(&kind);
            let is_to = is_active(FaultKind::PartitionToServer { host });
            let is_from = is_active(FaultKind::PartitionFromServer { host });
            let wanted = if is_active(FaultKind::Partition { host }) || is_to && is_from {
                Link::Drop
            } else if is_to {
                Link::DropToServer
            } else if is_from {
                Link::DropFromServer
            } else if is_active(FaultKind::Hold { host }) {
                Link::Hold
            } else {
                Link::Deliver
            };
            if *link != wanted {
                match *link {
                    Link::Deliver => {}
                    Link::Hold => sim.release(&*name, SERVER),
                    Link::Drop | Link::DropToServer | Link::DropFromServer => {
                        sim.repair(&*name, SERVER);
                    }
                }
                match wanted {
                    Link::Deliver => {}
                    Link::Hold => sim.hold(&*name, SERVER),
                    Link::Drop => sim.partition(&*name, SERVER),
                    Link::DropToServer => sim.partition_oneway(&*name, SERVER),
                    Link::DropFromServer => sim.partition_oneway(SERVER, &*name),
                }
                *link = wanted;
            }
            for kind in &self.active {
                if let FaultKind::Slow {
                    host: slow,
                    latency_ms,
                } = kind
                    && *slow == host
                {
                    let latency = Duration::from_millis((*latency_ms).into());
                    sim.set_link_latency(&*name, SERVER, latency);
                }
            }
        }
    }
}
