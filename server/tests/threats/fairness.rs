//! T11: fairness to many clients in a closed loop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::load::{CLIENTS, connect_all, for_each_load_in_turn};
use crate::process::{ServerProcess, retry_interrupted};
use crate::{milliseconds, record, seconds, start};

/// Requests per round: a client sends them in one write, and again when it has all of the replies.
const IN_FLIGHT: usize = 16;
const REQUESTS: &[u8] = b"1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n";

struct Client {
    stream: TcpStream,
    /// Bytes of this round's replies that have not arrived.
    awaited: usize,
    /// Completed rounds.
    rounds: usize,
    sent: Instant,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        stream.set_nonblocking(true).expect("set");
        let mut client = Client {
            stream,
            awaited: 0,
            rounds: 0,
            sent: Instant::now(),
        };
        client.send();
        client
    }

    fn send(&mut self) {
        self.sent = Instant::now();
        self.stream.write_all(REQUESTS).expect("sent");
        self.awaited = REQUESTS.len();
    }
}

/// Runs the clients until they have completed this number of rounds on average. Returns the rounds of each
/// client, and the 99th percentile of the duration of a round.
fn run(server: &ServerProcess, clients: usize, rounds: usize) -> (Vec<usize>, std::time::Duration) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("created");
    let streams = connect_all(server, clients);
    let mut clients: Vec<_> = streams.into_iter().map(Client::new).collect();
    for (index, client) in clients.iter().enumerate() {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        epoll.add(&client.stream, event).expect("added");
    }
    let mut events = vec![EpollEvent::empty(); clients.len()];
    let mut times = Vec::new();
    let total = clients.len() * rounds;
    while times.len() < total {
        let wait = || Ok(epoll.wait(&mut events, EpollTimeout::NONE)?);
        let count = retry_interrupted(wait).expect("events");
        for event in &events[..count] {
            let index = usize::try_from(event.data()).expect("an index");
            let client = &mut clients[index];
            let mut replies = [0; REQUESTS.len()];
            // An event may be stale.
            let length = client.stream.read(&mut replies[..client.awaited]);
            client.awaited -= length.unwrap_or(0);
            if client.awaited == 0 {
                client.rounds += 1;
                times.push(client.sent.elapsed());
                client.send();
            }
        }
    }
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    (clients.iter().map(|client| client.rounds).collect(), p99)
}

/// Returns Jain's fairness index: 1 if all rounds are equal, 1 / n if one client has every round.
fn fairness(rounds: &[usize]) -> f64 {
    let sum: f64 = rounds.iter().map(|rounds| *rounds as f64).sum();
    let squares: f64 = rounds.iter().map(|rounds| (*rounds as f64).powi(2)).sum();
    sum * sum / (rounds.len() as f64 * squares)
}

#[test]
fn t11_clients_in_a_closed_loop_are_served_evenly() {
    const ROUNDS: usize = 40;
    assert_eq!(REQUESTS.len(), 2 * IN_FLIGHT);
    for_each_load_in_turn(&CLIENTS, |clients, workers| {
        let server = start(&["--workers", workers]);
        let start = Instant::now();
        let (rounds, p99) = run(&server, clients, ROUNDS);
        let index = fairness(&rounds);
        let load =
            format!("{clients} clients, {IN_FLIGHT} requests in flight, --workers {workers}");
        let time = seconds(start.elapsed());
        record(
            "T11",
            &format!("{load}: Jain's fairness index"),
            format!("{index:.3}"),
        );
        record(
            "T11",
            &format!("{load}: p99 latency"),
            format!("{} in {time}", milliseconds(p99)),
        );
        // With several workers, the clients of the worker that has fewer are served faster.
        if workers == "1" {
            assert!(index >= 0.98, "{load}: {index}");
        }
        assert!(
            rounds.iter().all(|rounds| *rounds > 0),
            "{load}: a client was starved"
        );
    });
}
