//! Another protocol on the simulated network: a client sends lines, `PING` or `ECHO text`, then half-closes; the server
//! replies `+PONG` or `+text` to each line.
//!
//! ```sh
//! cargo run -p chime-sim-tests --example echo -- swarm --seeds 1000
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use chime_sim_tests::exec::{ClientHost, ServerHost};
use chime_sim_tests::scenario::{Scenario, list, range};
use chime_sim_tests::trace::{ClientEvent, Connection, Index};
use chime_sim_tests::{Failure, Protocol, Report, command};
use serde::{Deserialize, Serialize};
use strum::VariantArray;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    command::main::<Echo>("cargo run -p chime-sim-tests --example echo --")
}

/// The settings of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default)]
struct Server {
    /// A planted bug: the server takes all that it has read for one line.
    #[arbitrary(default)]
    takes_a_read_for_a_line: bool,
}

/// The lines that a client sends: texts of one or two, each with a pause before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lines {
    texts: Vec<String>,
    pause_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
enum Goal {
    Complete,
    EndedEarly,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Echo;

impl Protocol for Echo {
    type Server = Server;
    type Behaviour = Lines;
    type Goal = Goal;

    fn behaviour(_: &Server, bytes: &mut Unstructured<'_>) -> arbitrary::Result<Lines> {
        let text = |bytes: &mut Unstructured<'_>| {
            bytes
                .choose(&["PING", "ECHO a", "ECHO bc\nPING", "what?"])
                .copied()
        };
        let texts = list(1..=9, text)(bytes)?;
        Ok(Lines {
            texts: texts.into_iter().map(String::from).collect(),
            pause_ms: range(0..=50)(bytes)?,
        })
    }

    async fn serve(server: Server, host: ServerHost) -> io::Result<BTreeMap<String, u64>> {
        let (listener, shutdown) = (host.listen(0).await?, host.shutdown());
        let mut conversations = JoinSet::new();
        let mut count = 0;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    count += 1;
                    conversations.spawn_local(converse(stream, server.clone()));
                },
            }
        }
        while let Some(ended) = conversations.join_next().await {
            // A failed stream is none of the server's faults, a panic is.
            let _ = ended.map_err(io::Error::other)?;
        }
        Ok(BTreeMap::from([("connections".into(), count)]))
    }

    async fn run_client(lines: Lines, _: Server, host: ClientHost) {
        if let Err(error) = exchange(&host, &lines).await {
            host.record(ClientEvent::Failed(error.to_string()));
        }
    }

    async fn verify_recovery(_: Server, host: &ClientHost) -> bool {
        let lines = Lines {
            texts: vec!["PING".into()],
            pause_ms: 0,
        };
        exchange(host, &lines)
            .await
            .is_ok_and(|replies| replies == "+PONG\n")
    }

    fn check(scenario: &Scenario<Echo>, index: &Index<'_>) -> Result<Report<Goal>, Failure> {
        let mut report = Report::new(BTreeSet::new(), index.connections.len());
        let network = scenario.network;
        let is_calm = scenario.faults.is_empty() && network.stream_error_percent == 0;
        for connection in index
            .connections
            .values()
            .filter(|connection| connection.client.is_some())
        {
            let Connection {
                client_side: client,
                ..
            } = connection;
            let sent = sent(connection);
            let expected: String = sent
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'))
                .map(|line| reply(line) + "\n")
                .collect();
            let (got, event) = (
                client.bytes_read(),
                client.read.last().map_or(0, |read| read.at.event),
            );
            if !expected.as_bytes().starts_with(&got) {
                let got = got.escape_ascii();
                return Err(Failure::new(
                    format!("the client expected {expected:?} and read \"{got}\""),
                    event,
                ));
            }
            let is_complete = client.shut.is_some() && got.len() == expected.len();
            if is_calm && !is_complete {
                return Err(Failure::new(
                    "the conversation ended early without a fault",
                    event,
                ));
            }
            if is_complete {
                report.goals.insert(Goal::Complete);
            } else {
                // Coarse: any fault excuses every early end. Look for the one that struck this conversation.
                report.goals.insert(Goal::EndedEarly);
                *report.excused.entry("a fault").or_default() += 1;
            }
        }
        Ok(report)
    }
}

fn sent(connection: &Connection<'_>) -> String {
    let bytes: Vec<u8> = connection
        .client_side
        .wrote
        .iter()
        .flat_map(|write| write.bytes)
        .copied()
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn reply(line: &str) -> String {
    match line.strip_prefix("ECHO ") {
        Some(text) => format!("+{text}"),
        None if line == "PING" => "+PONG".into(),
        None => "-unknown command".into(),
    }
}

async fn converse<S>(mut stream: S, server: Server) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input = Vec::new();
    while timeout(PATIENCE, stream.read_buf(&mut input)).await?? > 0 {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let end = if server.takes_a_read_for_a_line {
                input.len() - 1
            } else {
                end
            };
            let line: Vec<u8> = input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..line.len() - 1]);
            let reply = reply(&line) + "\n";
            timeout(PATIENCE, stream.write_all(reply.as_bytes())).await??;
        }
    }
    stream.shutdown().await
}

/// Sends the lines and half-closes, and meanwhile reads to EOF: through a narrow window, the server would otherwise wait
/// for the client to read, and the client for the server.
async fn exchange(host: &ClientHost, lines: &Lines) -> io::Result<String> {
    let (mut reader, mut writer) = tokio::io::split(host.connect(0, PATIENCE).await?);
    let send = async {
        for text in &lines.texts {
            sleep(Duration::from_millis(lines.pause_ms)).await;
            timeout(PATIENCE, writer.write_all(format!("{text}\n").as_bytes())).await??;
        }
        writer.shutdown().await
    };
    let mut replies = Vec::new();
    let receive = async {
        while timeout(PATIENCE, reader.read_buf(&mut replies)).await?? > 0 {}
        io::Result::Ok(())
    };
    tokio::try_join!(send, receive)?;
    String::from_utf8(replies).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chime_sim_tests::scenario::shrink;
    use chime_sim_tests::{Page, check, draw, run};

    #[test]
    fn a_swarm_passes_and_reaches_every_goal() {
        let mut goals = BTreeSet::new();
        for seed in 0..200 {
            let scenario = Scenario::<Echo>::from_seed(seed);
            match check(&scenario, &run(&scenario)) {
                Ok(report) => goals.extend(report.goals),
                Err(failure) => panic!("seed {seed}: {failure}\n{scenario}"),
            }
        }
        assert_eq!(goals.into_iter().collect::<Vec<_>>(), Goal::VARIANTS);
    }

    #[test]
    fn the_planted_bug_is_found_shrunk_replayed_and_drawn() {
        let fails = |scenario: &Scenario<Echo>| check(scenario, &run(scenario)).is_err();
        let with_bug = |seed| Scenario::<Echo> {
            server: Server {
                takes_a_read_for_a_line: true,
            },
            ..Scenario::from_seed(seed)
        };
        let found = (0..20).map(with_bug).find(fails).expect("the bug is found");
        let shrunk = shrink(found, 10_000, fails);
        assert!(
            shrunk.to_string().len() < 400 && shrunk.faults.is_empty(),
            "{shrunk}"
        );

        let replayed =
            Scenario::<Echo>::from_json(shrunk.to_string().as_bytes()).expect("a scenario");
        assert_eq!(run(&replayed), run(&shrunk));

        let failure = check(&shrunk, &run(&shrunk)).expect_err("it fails");
        let page = Page {
            name: "the planted bug",
            replay: "echo run FILE",
        };
        let page = draw(&page, &shrunk, &run(&shrunk), Some(&failure));
        let first_words = failure.message.split('"').next().expect("words");
        assert!(page.contains(first_words), "{failure}\n{page}");
    }
}
