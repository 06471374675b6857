//! Thousands of connections on one worker: no reply is lost, and service is fair.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, spawn_local, yield_now};

use crate::conversations::expect_text;
use crate::sockets::{InMemoryServer, WELCOME, read_to_eof};
use crate::{options_for, run};

/// Numbers of connections, up to far more than tokio's cooperative budget of 128 operations per poll.
const SIZES: [usize; 4] = [50, 500, 2_000, 4_000];

/// Connects this many clients, and reads their welcomes.
async fn connect_all(server: &InMemoryServer, clients: usize) -> Vec<DuplexStream> {
    let mut streams: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    for stream in &mut streams {
        expect_text(stream, WELCOME).await;
    }
    streams
}

#[test]
fn t16_shutdown_loses_no_reply_at_any_number_of_clients() {
    for (clients, requests) in [(50, 1), (500, 1), (2_000, 1), (4_000, 1), (500, 100)] {
        run(async move {
            let server = InMemoryServer::start(options_for(clients));
            let mut streams = connect_all(&server, clients).await;
            for stream in &mut streams {
                let sent = "12\n".repeat(requests);
                stream.write_all(sent.as_bytes()).await.expect("sent");
            }
            server.stop.cancel();
            for stream in &mut streams {
                assert_eq!(
                    read_to_eof(stream).await,
                    "3\n".repeat(requests),
                    "{clients} clients"
                );
            }
        });
    }
}

#[test]
fn t16_shutdown_drains_a_backlog_of_any_length() {
    for clients in SIZES {
        run(async move {
            let server = InMemoryServer::start(options_for(clients));
            let mut streams: Vec<_> = (0..clients).map(|_| server.connect()).collect();
            for stream in &mut streams {
                stream.write_all(b"12\n").await.expect("sent");
            }
            server.stop.cancel();
            for stream in &mut streams {
                assert_eq!(
                    read_to_eof(stream).await,
                    format!("{WELCOME}3\n"),
                    "{clients} clients"
                );
            }
        });
    }
}

/// Keeps 16 requests in flight and counts the replies in `replies`, until `left` of all clients is 0.
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

/// Returns Jain's fairness index: 1 if all counts are equal, 1 / n if one client has every reply.
fn fairness(counts: &[Rc<Cell<u64>>]) -> f64 {
    let counts = || counts.iter().map(|count| count.get() as f64);
    let squares: f64 = counts().map(|count| count * count).sum();
    counts().sum::<f64>().powi(2) / (squares * counts().count() as f64)
}

#[test]
fn t11_a_closed_loop_is_served_fairly() {
    for clients in SIZES {
        run(async move {
            let server = InMemoryServer::start(options_for(clients));
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
