//! chime, as it is simulated: the settings of its server, what clients do, and the oracles.

mod addresses;
mod check;
mod clients;
mod generate;
mod goals;
mod proxy;
mod scenario;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use arbitrary::Unstructured;

use crate::exec::{ClientHost, ServerHost};
use crate::trace::Index;
use crate::{Failure, Protocol, Report, command};
use clients::Task;

pub use check::{Checker, Excuse, Oracle, Part, Reason};
pub use goals::CoverageGoal;
pub use proxy::{Form, Header};
pub use scenario::{
    Act, Behaviour, Destination, DestinationAddress, Ending, Listener, Reading, Server, Source,
    Target, Timeout, UdpSocket,
};

/// A scenario of chime. This JSON has each field and each variant:
///
/// ```json
#[doc = include_str!("chime/every-field.json")]
/// ```
pub type Scenario = crate::scenario::Scenario<Chime>;

/// The protocol chime: its server, and clients that use its client library or write bytes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chime;

/// Runs the command `sim` for chime.
///
/// The generic code is compiled here, once, and not in each program that uses it.
pub fn main() -> ExitCode {
    command::main::<Chime>("cargo sim")
}

impl Protocol for Chime {
    type Server = Server;
    type Behaviour = Behaviour;
    type Goal = CoverageGoal;

    fn behaviour(server: &Server, bytes: &mut Unstructured<'_>) -> arbitrary::Result<Behaviour> {
        generate::behaviour(server, bytes)
    }

    /// The server serves all: among thousands of accepts in a millisecond the trace does not tell when each worker looks
    /// at an address. A crowd of datagrams is of no use, since a server that stops answers a limited number of them.
    fn prepare_for_crowd(server: &mut Server, behaviour: &Behaviour) -> bool {
        if let Behaviour::AskDatagrams { .. } | Behaviour::WriteDatagrams { .. } = behaviour {
            return false;
        }
        let default = Server::default();
        server.connections_max = default.connections_max;
        server.address_connections_max = default.address_connections_max;
        server.allowed.clear();
        server.denied.clear();
        true
    }

    async fn serve(server: Server, host: ServerHost) -> io::Result<BTreeMap<String, u64>> {
        server::serve(server, host).await
    }

    async fn run_client(behaviour: Behaviour, server: Server, host: ClientHost) {
        Task {
            server,
            host: &host,
        }
        .run(behaviour)
        .await;
    }

    async fn verify_recovery(server: Server, host: &ClientHost) -> bool {
        Task { server, host }.verify_recovery().await
    }

    fn check(scenario: &Scenario, index: &Index<'_>) -> Result<Report<CoverageGoal>, Failure> {
        Checker::default().check_index(scenario, index)
    }
}
