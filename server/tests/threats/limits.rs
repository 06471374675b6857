//! T8 and T12: connection limits, idle connections and vanished clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::load::{CLIENTS, connect_all, for_each_load};
use crate::{
    FULL, IDLE, OPEN, ServerProcess, TIMEOUT, WELCOME, assert_serves, connect_and_read_welcome,
    metric, milliseconds, read_line, read_to_eof, record, seconds, start, wait_for_metric,
    wait_until,
};

#[test]
fn t08_a_full_server_refuses_connections_in_text_at_once() {
    for_each_load(&CLIENTS, connect_to_a_full_server);
}

fn connect_to_a_full_server(clients: usize, workers: &str) {
    let limit = clients.to_string();
    let server = start(&["--max-connections", &limit, "--workers", workers]);
    let held = connect_all(&server, clients);
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        let mut client = server.connect();
        assert_eq!(read_line(&client), FULL);
        times.push(start.elapsed());
        // Requests of a refused client get no reply.
        client.write_all(b"day\n").expect("sent");
        client.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(read_to_eof(client), "");
    }
    let refused = metric(&server, "chime_connections_refused_total{reason=\"full\"}");
    assert_eq!((refused, metric(&server, OPEN)), (50, clients as u64));
    drop(held);
    wait_for_metric(&server, OPEN, 0);
    assert_serves(&server);
    let load = format!("{clients} of {clients} connections, --workers {workers}");
    let label = format!("{load}: refused in text of 50 more");
    record("T08", &label, refused);
    let slowest = times.iter().max().expect("clients were refused");
    let label = format!("{load}: slowest refusal");
    record("T08", &label, milliseconds(*slowest));
}

#[test]
fn t08_the_idle_timeout_frees_connection_permits() {
    for_each_load(&CLIENTS, |clients, workers| {
        let limit = clients.to_string();
        let flags = ["--max-connections", &limit, "--workers", workers];
        let server = start(&[&flags[..], &["--idle-timeout", "1s"]].concat());
        let start = Instant::now();
        // The welcome shows that a connection is accepted: otherwise a probe could take its permit.
        let held = connect_all(&server, clients);
        let mut probes = 0;
        wait_until("a permit is free", || {
            probes += 1;
            server.replies_to("") == WELCOME
        });
        let after = start.elapsed();
        for stream in held {
            assert_eq!(read_to_eof(stream), "");
        }
        // On a busy machine probes may reach the idle timeout, too.
        let idle = clients as u64..=clients as u64 + probes;
        wait_until("the idle clients are counted", || {
            idle.contains(&metric(&server, IDLE))
        });
        let label = format!(
            "{clients} idle clients, --workers {workers}, idle timeout 1 s: \
             first permit free after"
        );
        record("T08", &label, seconds(after));
    });
}

#[test]
fn t08_the_per_address_limit_does_not_affect_other_addresses() {
    let server = start(&["--max-connections-per-address", "5"]);
    let held: Vec<_> = (0..5).map(|_| connect_and_read_welcome(&server)).collect();
    assert_eq!(server.replies_to("day\n"), FULL);
    let other = connect_from(Ipv4Addr::new(127, 0, 0, 2).into(), server.tcp[0]);
    assert_eq!(read_line(&other), WELCOME);
    drop(held);
    wait_until("a permit is free", || server.replies_to("") == WELCOME);
}

/// Connects from this local address.
pub(crate) fn connect_from(address: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::new(address, 0).into())
        .expect("bound");
    socket.connect(&server.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).expect("set");
    stream
}

#[test]
fn t12_vanished_clients_are_closed_at_the_idle_timeout() {
    for_each_load(&CLIENTS, |clients, workers| {
        let server = start(&["--idle-timeout", "1s", "--workers", workers]);
        let silent: Vec<_> = (0..clients).map(|_| server.connect()).collect();
        let suspended = SuspendedClient::start(&server);
        let start = Instant::now();
        wait_for_metric(&server, IDLE, clients as u64 + 1);
        let label = format!(
            "{clients} silent clients and one stopped by SIGSTOP, --workers {workers}, \
             idle timeout 1 s: all closed after"
        );
        record("T12", &label, seconds(start.elapsed()));
        assert_eq!(metric(&server, OPEN), 0);
        assert!(suspended.is_suspended(), "the client has run");
        for stream in silent {
            assert_eq!(read_to_eof(stream), WELCOME);
        }
    });
}

/// A connected client that has stopped itself with SIGSTOP.
struct SuspendedClient(Child);

impl SuspendedClient {
    /// Connects a client, and waits until it is stopped.
    fn start(server: &ServerProcess) -> SuspendedClient {
        let script = r#"exec 3<>"/dev/tcp/$0/$1"; read -r -u 3 line; echo "$line"; kill -STOP $$"#;
        let SocketAddr::V4(address) = server.tcp[0] else {
            panic!("not an IPv4 address");
        };
        let mut command = Command::new("bash");
        command.args([
            "-c",
            script,
            &address.ip().to_string(),
            &address.port().to_string(),
        ]);
        let mut client =
            SuspendedClient(command.stdout(Stdio::piped()).spawn().expect("bash starts"));
        let stdout = client.0.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, WELCOME);
        wait_until("the client is stopped", || client.is_suspended());
        client
    }

    fn is_suspended(&self) -> bool {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).expect("a process");
        status.contains("State:\tT")
    }
}

impl Drop for SuspendedClient {
    fn drop(&mut self) {
        // Fails only if the process has exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
