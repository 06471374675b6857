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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use strum::VariantNames;

    use super::*;
    use crate::scenario::FaultKind;
    use crate::{check, run};

    /// The keys and strings of a value.
    fn words(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, field)| {
                found.insert(name.clone());
                words(field, found);
            }),
            Value::Array(items) => items.iter().for_each(|item| words(item, found)),
            Value::String(text) => drop(found.insert(text.clone())),
            _ => {}
        }
    }

    #[test]
    fn the_documented_json_has_every_field_and_variant_and_passes() {
        let text = include_str!("chime/every-field.json");
        let scenario = Scenario::from_json(text.as_bytes()).expect("a scenario");
        check(&scenario, &run(&scenario)).expect("the run passes");

        let (mut shown, mut expected) = (BTreeSet::new(), BTreeSet::new());
        words(&serde_json::from_str(text).expect("JSON"), &mut shown);
        let default = serde_json::to_value(Scenario::default()).expect("plain data");
        for part in [&default, &default["server"], &default["network"]] {
            expected.extend(part.as_object().expect("an object").keys().cloned());
        }
        let variants = [
            FaultKind::VARIANTS,
            Behaviour::VARIANTS,
            Act::VARIANTS,
            Reading::VARIANTS,
            Ending::VARIANTS,
            Source::VARIANTS,
        ];
        expected.extend(variants.concat().into_iter().map(String::from));
        let missing: Vec<_> = expected.difference(&shown).collect();
        assert!(missing.is_empty(), "not documented: {missing:?}");
    }
}
