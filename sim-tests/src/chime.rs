//! chime, as it is simulated: the settings of its server, what clients do, and the oracles.

mod check;
mod clients;
mod generate;
mod goals;
mod scenario;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::ExitCode;

use arbitrary::Unstructured;

use crate::exec::{ClientHost, ServerHost};
use crate::trace::Index;
use crate::{Failure, Protocol, command};
use clients::Task;

pub use check::check_against;
pub use goals::CoverageGoal;
pub use scenario::{Act, Behaviour, Ending, Reading, Server, Source};

/// A scenario of chime.
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
        generate::behaviour(server.framing, bytes)
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

    fn check(scenario: &Scenario, index: &Index<'_>) -> Result<BTreeSet<CoverageGoal>, Failure> {
        check::check(chime_protocol::model::naive::answer, scenario, index)
    }
}
