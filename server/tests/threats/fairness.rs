//! T11: how evenly one thread serves many clients that each wait for their replies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::load::{CLIENTS, for_each_load, welcomed_clients};
use crate::process::{Server, uninterrupted};
use crate::{milliseconds, record, seconds, start};

/// Requests that a client sends at a time, and sends again once it has all of the replies.
const IN_FLIGHT: usize = 16;
const REQUESTS: &[u8] = b"1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n1\n";

struct Client {
    stream: TcpStream,
    /// Bytes of the replies to the last requests that have not arrived.
    awaited: usize,
    /// Rounds that are over.
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

/// Has each client send again and again, until they have had this many rounds on average. Returns the
/// rounds of each, and the 99th percentile of the times of a round.
fn run(server: &Server, clients: usize, rounds: usize) -> (Vec<usize>, std::time::Duration) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll");
    let streams = welcomed_clients(server, clients);
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
        let count = uninterrupted(wait).expect("events");
        for event in &events[..count] {
            let index = usize::try_from(event.data()).expect("an index");
            let client = &mut clients[index];
            let mut replies = [0; REQUESTS.len()];
            // Events may be late.
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

/// Jain's fairness index: 1 when all have as much, 1 / n when one has everything.
fn fairness(rounds: &[usize]) -> f64 {
    let sum: f64 = rounds.iter().map(|rounds| *rounds as f64).sum();
    let squares: f64 = rounds.iter().map(|rounds| (*rounds as f64).powi(2)).sum();
    sum * sum / (rounds.len() as f64 * squares)
}

#[test]
fn t11_clients_that_wait_for_their_replies_are_served_evenly() {
    const ROUNDS: usize = 40;
    assert_eq!(REQUESTS.len(), 2 * IN_FLIGHT);
    for_each_load(&CLIENTS, |clients, workers| {
        let server = start(&["--workers", workers]);
        let start = Instant::now();
        let (rounds, p99) = run(&server, clients, ROUNDS);
        let index = fairness(&rounds);
        let who =
            format!("{clients} clients with {IN_FLIGHT} requests in flight, on {workers} workers");
        let time = seconds(start.elapsed());
        record(
            "T11",
            &format!("{who}: Jain's fairness index"),
            format!("{index:.3}"),
        );
        record(
            "T11",
            &format!("{who}: p99"),
            format!("{} in {time}", milliseconds(p99)),
        );
        // Workers that share clients unevenly serve those of one faster.
        if workers == "1" {
            assert!(index >= 0.98, "{who}: {index}");
        }
        assert!(
            rounds.iter().all(|rounds| *rounds > 0),
            "{who}: one got nothing"
        );
    });
}
