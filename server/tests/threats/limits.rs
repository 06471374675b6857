//! T8 and T12: who takes up room, and for how long.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::load::{CLIENTS, for_each_load, welcomed_clients};
use crate::{
    FULL, IDLE, OPEN, PATIENCE, Server, WELCOME, assert_serves, metric, milliseconds, read_line,
    record, rest_of, seconds, start, wait_for, wait_until, welcomed,
};

#[test]
fn t08_newcomers_to_a_full_server_are_told_so_at_once() {
    for_each_load(&CLIENTS, come_to_a_full_server);
}

fn come_to_a_full_server(clients: usize, workers: &str) {
    let limit = clients.to_string();
    let server = start(&["--max-connections", &limit, "--workers", workers]);
    let held = welcomed_clients(&server, clients);
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        let mut newcomer = server.connect();
        assert_eq!(read_line(&newcomer), FULL);
        times.push(start.elapsed());
        // Whatever it asks, there is nothing more to say.
        newcomer.write_all(b"day\n").expect("sent");
        newcomer.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(rest_of(newcomer), "");
    }
    let refused = metric(&server, "chime_connections_refused_total{reason=\"full\"}");
    assert_eq!((refused, metric(&server, OPEN)), (50, clients as u64));
    drop(held);
    wait_for(&server, OPEN, 0);
    assert_serves(&server);
    let who = format!("new clients of a server with {clients} of {clients}, on {workers} workers");
    record("T08", &format!("{who}: told, of 50"), refused);
    let slowest = times.iter().max().expect("there were newcomers");
    record(
        "T08",
        &format!("{who}: slowest told after"),
        milliseconds(*slowest),
    );
}

#[test]
fn t08_idle_clients_make_room() {
    for_each_load(&CLIENTS, |clients, workers| {
        let limit = clients.to_string();
        let flags = ["--max-connections", &limit, "--workers", workers];
        let server = start(&[&flags[..], &["--idle-timeout", "1s"]].concat());
        let start = Instant::now();
        // Whoever has connected may not be admitted yet, and a probe could come first.
        let held = welcomed_clients(&server, clients);
        let mut probes = 0;
        wait_until("there is room", || {
            probes += 1;
            server.converse("") == WELCOME
        });
        let after = start.elapsed();
        for stream in held {
            assert_eq!(rest_of(stream), "");
        }
        // On a busy machine a probe may have been idle, too.
        let all = clients as u64..=clients as u64 + probes;
        wait_until("they are counted", || all.contains(&metric(&server, IDLE)));
        let who = format!("{clients} idle clients, on {workers} workers");
        let what = format!("{who}: room again, at an idle timeout of 1 s, after");
        record("T08", &what, seconds(after));
    });
}

#[test]
fn t08_an_address_that_has_all_it_may_leaves_room_for_others() {
    let server = start(&["--max-connections-per-address", "5"]);
    let held: Vec<_> = (0..5).map(|_| welcomed(&server)).collect();
    assert_eq!(server.converse("day\n"), FULL);
    let other = connect_from(Ipv4Addr::new(127, 0, 0, 2).into(), server.tcp[0]);
    assert_eq!(read_line(&other), WELCOME);
    drop(held);
    wait_until("there is room", || server.converse("") == WELCOME);
}

/// Connects from this address of the host.
pub(crate) fn connect_from(address: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::new(address, 0).into())
        .expect("bound");
    socket.connect(&server.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

#[test]
fn t12_clients_that_are_gone_without_a_word_are_closed_when_idle() {
    for_each_load(&CLIENTS, |clients, workers| {
        let server = start(&["--idle-timeout", "1s", "--workers", workers]);
        let silent: Vec<_> = (0..clients).map(|_| server.connect()).collect();
        let stopped = Stopped::start(&server);
        let start = Instant::now();
        wait_for(&server, IDLE, clients as u64 + 1);
        let what = format!(
            "no connection of {clients} silent clients and a stopped one, on {workers} workers, \
             at an idle timeout of 1 s, after"
        );
        record("T12", &what, seconds(start.elapsed()));
        assert_eq!(metric(&server, OPEN), 0);
        assert!(stopped.is_stopped(), "it can't have closed the connection");
        for stream in silent {
            assert_eq!(rest_of(stream), WELCOME);
        }
    });
}

/// A client that was stopped (SIGSTOP) while it was connected.
struct Stopped(Child);

impl Stopped {
    /// Returns once it is stopped.
    fn start(server: &Server) -> Stopped {
        let script = r#"exec 3<>"/dev/tcp/$0/$1"; read -r -u 3 line; echo "$line"; kill -STOP $$"#;
        let SocketAddr::V4(address) = server.tcp[0] else {
            panic!("the address is one of IPv4");
        };
        let mut command = Command::new("bash");
        command.args([
            "-c",
            script,
            &address.ip().to_string(),
            &address.port().to_string(),
        ]);
        let mut client = Stopped(command.stdout(Stdio::piped()).spawn().expect("bash starts"));
        let stdout = client.0.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, WELCOME);
        wait_until("the client is stopped", || client.is_stopped());
        client
    }

    fn is_stopped(&self) -> bool {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).expect("a process");
        status.contains("State:\tT")
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
