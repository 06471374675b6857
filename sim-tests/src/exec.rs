//! Runs a scenario.

mod datagrams;
mod faults;
mod hosts;
mod panics;
mod streams;
mod world;

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use turmoil::{Builder, Sim};

use crate::Protocol;
use crate::scenario::Scenario;
use crate::trace::{EventKind, Trace};
use faults::Faults;
use hosts::{SERVER, add_clients, run_server};
use panics::Panics;
use world::World;

pub(crate) use hosts::{millis, server_socket};

pub use datagrams::{DatagramSocket, Received};
pub use hosts::{ClientHost, SERVER_SOCKETS_MAX, ServerHost, server_address};
pub use streams::{Listener, Stream};

/// The step of the simulated time, and the minimum duration of anything that takes time.
const TICK: Duration = Duration::from_millis(1);

/// The simulated time after which a run that has not ended is stuck.
const STUCK_MS: u32 = 600_000;

/// Runs a scenario: first with its faults, then until all clients have been served, then until the server has shut
/// down.
///
/// It is a pure function: the same scenario gives the same trace.
pub fn run<P: Protocol>(scenario: &Scenario<P>) -> Trace {
    let panics = Panics::collect();
    let world = Rc::new(World::new(scenario));
    let mut sim = simulation(scenario);
    let (server, server_world) = (scenario.server.clone(), Rc::clone(&world));
    sim.host(SERVER, move || {
        run_server::<P>(server.clone(), Rc::clone(&server_world))
    });
    add_clients(&mut sim, scenario, &world);

    let mut faults = Faults::new(scenario);
    let starts_ms = scenario.clients.iter().map(|client| client.start_ms);
    let end_ms = starts_ms.max().unwrap_or(0).max(scenario.heal_ms) + STUCK_MS;
    let mut is_stopping = false;
    while !is_stopping || world.server.is_up.get() {
        world.time.tick();
        faults.strike(&mut sim, &world);
        if let Err(error) = sim.step() {
            world.record(EventKind::Panicked(error.to_string()));
            break;
        }
        world.record_gauges();
        let panics = panics.take();
        if !panics.is_empty() {
            panics
                .into_iter()
                .for_each(|panic| world.record(EventKind::Panicked(panic)));
            break;
        }
        let clients = world.clients.working.borrow();
        let streams = world.server.stream_count.get();
        if world.time.now_ms() >= end_ms {
            let text = format!(
                "clients {clients:?} and {streams} connections of the server are still open"
            );
            world.record(EventKind::Stuck(text));
            break;
        }
        if faults.is_over() && clients.is_empty() && streams == 0 && !is_stopping {
            is_stopping = true;
            world.shut_server_down();
        }
    }
    let trace = world.take_trace();
    drop(sim);
    world.clients.forgotten.take();
    trace
}

fn simulation<'a, P: Protocol>(scenario: &Scenario<P>) -> Sim<'a> {
    let network = &scenario.network;
    Builder::new()
        .rng_seed(scenario.rng_seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(Duration::MAX)
        .tick_duration(TICK)
        .enable_random_order()
        .min_message_latency(millis(network.latency_min_ms))
        .max_message_latency(millis(network.latency_max_ms()))
        // This is the backlog, too: turmoil panics if more connections wait.
        .tcp_capacity(100_000)
        .udp_capacity(network.datagrams_max)
        .build()
}
