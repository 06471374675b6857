//! The server of chime on the simulated host.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use chime_protocol::{Command, Framing};
use chime_server::{Counter, CounterSnapshot, Counters, Datagram, ListenerConfig, Options};
use strum::VariantArray;
use tokio::sync::Semaphore;

use super::Server;
use crate::exec::{
    DatagramSocket, Listener, ServerHost, Stream, millis, server_address, wall_clock,
};

/// The name of the counter of free permits.
pub(super) const PERMITS: &str = "permits";

/// The name of the counter of ended conversations.
pub(super) const CONVERSATIONS_ENDED: &str = "conversations-ended";

/// The number of datagrams that the server receives at a time.
const BATCH: usize = 16;

/// Runs the server, and returns its counters by name, and the number of free permits.
pub(super) async fn serve(server: Server, host: ServerHost) -> io::Result<BTreeMap<String, u64>> {
    if server.framing == Framing::Read {
        host.keep_writes();
    }
    let connections = Arc::new(Semaphore::new(server.connections_max));
    let options = Options {
        connections: Arc::clone(&connections),
        idle_timeout: millis(server.idle_timeout_ms),
        line_timeout: millis(server.line_timeout_ms),
        write_timeout: millis(server.write_timeout_ms),
        drain_timeout: millis(server.drain_timeout_ms),
        ..Options::new(wall_clock, NonZero::<u32>::MIN)
    };
    let config = ListenerConfig {
        service: server.service,
        framing: server.framing,
        proxies: None,
    };
    let listeners = vec![(host.listen().await?, config)];
    let datagrams = vec![host.bind_datagrams().await?];
    let counters = Arc::new(Counters::default());
    chime_server::serve(
        listeners,
        datagrams,
        options,
        Arc::clone(&counters),
        host.shutdown(),
    )
    .await;
    let mut counters = by_name(&counters.snapshot());
    counters.insert(PERMITS.into(), connections.available_permits() as u64);
    Ok(counters)
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
    let requests = &snapshot.requests;
    let commands = Command::ALL.iter().zip(requests.commands);
    let commands = commands.map(|(command, count)| (command.name().into(), count));
    let others = [
        ("digits", requests.digits),
        ("invalid", requests.invalid),
        (CONVERSATIONS_ENDED, snapshot.conversations_ended()),
    ];
    counters
        .chain(commands)
        .chain(others.map(|(name, count)| (name.into(), count)))
        .collect()
}

impl chime_server::Listener for Listener {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        Listener::accept(self).await
    }
}

impl chime_server::Datagrams for DatagramSocket {
    async fn receive(&mut self, batch: &mut Vec<Datagram>) -> io::Result<()> {
        let mut received = Some(DatagramSocket::receive(self).await?);
        while let Some((request, peer)) = received {
            batch.push(Datagram::new(&request, peer));
            received = match batch.len() < BATCH {
                true => self.try_receive(),
                false => None,
            };
        }
        Ok(())
    }

    async fn send(&mut self, batch: &[Datagram]) -> usize {
        let mut count = 0;
        for reply in batch {
            let sent =
                DatagramSocket::send(self, reply.payload(), server_address(), reply.peer).await;
            count += usize::from(sent.is_ok());
        }
        count
    }
}
