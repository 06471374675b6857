//! Injects the faults of a scenario that strike links, the server and its clock.

use chrono::TimeDelta;
use turmoil::Sim;

use super::hosts::{SERVER, host_name, millis};
use super::world::World;
use crate::Protocol;
use crate::scenario::{Fault, FaultKind, Network, Scenario};
use crate::trace::EventKind;

/// The faults of a run.
pub(super) struct Faults {
    faults: Vec<Fault>,
    network: Network,
    /// The beginnings and ends to come, the last first.
    due: Vec<(u32, Strike)>,
    active: Vec<FaultKind>,
    /// The state of each host's link.
    links: Vec<Link>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strike {
    Begin(usize),
    End(usize),
    Heal,
}

/// The state of the link between a host and the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Deliver,
    Hold,
    DropToServer,
    DropFromServer,
    Drop,
}

impl Faults {
    pub(super) fn new<P: Protocol>(scenario: &Scenario<P>) -> Faults {
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
            faults: scenario.faults.clone(),
            network: scenario.network,
            due,
            active: Vec::new(),
            links: vec![Link::Deliver; scenario.host_count()],
        }
    }

    /// Returns whether the network has healed.
    pub(super) fn is_over(&self) -> bool {
        self.due.is_empty()
    }

    /// Begins and ends the faults that are due.
    pub(super) fn strike(&mut self, sim: &mut Sim<'_>, world: &World) {
        let now_ms = world.time.now_ms();
        while let Some((_, strike)) = self.due.pop_if(|(at_ms, _)| *at_ms <= now_ms) {
            match strike {
                Strike::Begin(index) => self.begin(self.faults[index].kind.clone(), sim, world),
                Strike::End(index) => self.end(self.faults[index].kind.clone(), sim, world),
                Strike::Heal => world.heal(),
            }
        }
    }

    fn begin(&mut self, kind: FaultKind, sim: &mut Sim<'_>, world: &World) {
        world.record(EventKind::FaultBegan(kind.clone()));
        self.active.push(kind.clone());
        match kind {
            FaultKind::Crash => {
                world.record_kill();
                sim.crash(SERVER);
            }
            FaultKind::Stop => world.shut_server_down(),
            FaultKind::Freeze => world.server.freeze(),
            FaultKind::ClockStep { seconds } => world.time.step_clock(TimeDelta::seconds(seconds)),
            _ => self.set_links(sim),
        }
    }

    fn end(&mut self, kind: FaultKind, sim: &mut Sim<'_>, world: &World) {
        world.record(EventKind::FaultEnded(kind.clone()));
        let index = self.active.iter().position(|active| *active == kind);
        self.active.remove(index.expect("the fault has begun"));
        match kind {
            FaultKind::Crash | FaultKind::Stop => {
                let is_down = |kind: &FaultKind| matches!(kind, FaultKind::Crash | FaultKind::Stop);
                if !self.active.iter().any(is_down) {
                    world.record_kill();
                    sim.bounce(SERVER);
                }
            }
            FaultKind::Freeze => {
                if !self.active.contains(&FaultKind::Freeze) {
                    world.server.thaw();
                }
            }
            FaultKind::ClockStep { .. } => {}
            FaultKind::Slow { host, .. } => {
                let [min, max] =
                    [self.network.latency_min_ms, self.network.latency_max_ms()].map(millis);
                sim.set_link_latency(host_name(host), SERVER, min);
                sim.set_link_max_message_latency(host_name(host), SERVER, max);
                self.set_links(sim);
            }
            _ => self.set_links(sim),
        }
    }

    /// Gives each link the state that the active faults demand. A partition overrides a hold.
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
                    sim.set_link_latency(&*name, SERVER, millis(*latency_ms));
                }
            }
        }
    }
}
