//! As many connections as people have, on one worker: none is forgotten, and none comes first.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use crate::sockets::{Server, WELCOME, rest_of};
use crate::{options_for, run};

/// Numbers of connections: far beyond the operations that tokio grants a task at a time, which are 128.
const SIZES: [usize; 4] = [50, 500, 2_000, 4_000];

/// Connects this many clients, and reads their welcomes.
async fn connect_all(server: &Server, clients: usize) -> Vec<DuplexStream> {
    let mut streams: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    for stream in &mut streams {
        let mut welcome = [0; WELCOME.len()];
        stream.read_exact(&mut welcome).await.expect("a welcome");
    }
    streams
}

#[test]
fn t16_a_stop_loses_no_reply_however_many_clients_wait_for_one() {
    for (clients, requests) in [(50, 1), (500, 1), (2_000, 1), (4_000, 1), (500, 100)] {
        run(async move {
            let server = Server::start(options_for(clients));
            let mut streams = connect_all(&server, clients).await;
            for stream in &mut streams {
                let sent = "12\n".repeat(requests);
                stream.write_all(sent.as_bytes()).await.expect("sent");
            }
            server.stop.cancel();
            for stream in &mut streams {
                assert_eq!(
                    rest_of(stream).await,
                    "3\n".repeat(requests),
                    "{clients} clients"
                );
            }
        });
    }
}

#[test]
fn t16_a_stop_serves_the_backlog_however_long_it_is() {
    for clients in SIZES {
        run(async move {
            let server = Server::start(options_for(clients));
            let mut streams: Vec<_> = (0..clients).map(|_| server.connect()).collect();
            for stream in &mut streams {
                stream.write_all(b"12\n").await.expect("sent");
            }
            server.stop.cancel();
            for stream in &mut streams {
                assert_eq!(
                    rest_of(stream).await,
                    format!("{WELCOME}3\n"),
                    "{clients} clients"
                );
            }
        });
    }
}

/// Sends 16 requests, then one more for each reply, and counts the replies, while some are `left`.
async fn closed_loop(mut stream: DuplexStream, replies: Rc<Cell<u64>>, left: Rc<Cell<u64>>) {
    stream.write_all(&b"1\n".repeat(16)).await.expect("sent");
    let mut buffer = [0; 2];
    while left.get() > 0 {
        stream.read_exact(&mut buffer).await.expect("a reply");
        replies.update(|count| count + 1);
        left.update(|left| left.saturating_sub(1));
        stream.write_all(b"1\n").await.expect("sent");
    }
}

/// Jain's fairness index: 1 if all have the same, 1 of n if one has all.
fn fairness(counts: &[Rc<Cell<u64>>]) -> f64 {
    let counts = || counts.iter().map(|count| count.get() as f64);
    let squares: f64 = counts().map(|count| count * count).sum();
    counts().sum::<f64>().powi(2) / (squares * counts().count() as f64)
}

#[test]
fn t11_every_client_in_a_closed_loop_gets_its_share() {
    for clients in SIZES {
        run(async move {
            let server = Server::start(options_for(clients));
            let streams = connect_all(&server, clients).await;
            let left = Rc::new(Cell::new(clients as u64 * 100));
            let counts: Vec<_> = (0..clients).map(|_| Rc::new(Cell::new(0))).collect();
            let start = |(stream, count): (DuplexStream, &Rc<Cell<u64>>)| {
                spawn_local(closed_loop(stream, Rc::clone(count), Rc::clone(&left)))
            };
            let tasks: Vec<_> = streams.into_iter().zip(&counts).map(start).collect();
            while left.get() > 0 {
                yield_now().await;
            }
            let fairness = fairness(&counts);
            assert!(fairness >= 0.98, "{clients} clients: {fairness:.3}");
            tasks.iter().for_each(JoinHandle::abort);
        });
    }
}
