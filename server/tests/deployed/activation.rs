//! A server on sockets that someone else holds, as systemd does, restarted while clients connect.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::activated::activated;
use crate::server::wait_until_it_serves;
use crate::{PATIENCE, Process, folder, record};

/// A client connects each time this has passed: 500 times a second.
const PAUSE: Duration = Duration::from_millis(2);

const RESTARTS: usize = 10;

#[test]
fn s4_a_restart_on_sockets_of_systemd_refuses_and_resets_no_connection() {
    let folder = folder("s4");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let tcp = listener.local_addr().expect("bound");
    let udp = datagrams.local_addr().expect("bound");
    let log = folder.join("server.log");
    let start = || start_activated(&listener, &datagrams, &log);

    let mut server = start();
    wait_until_it_serves(&log);
    let is_over = Arc::new(AtomicBool::new(false));
    let connections = connect_all_the_time(tcp, Arc::clone(&is_over));
    let questions = ask_all_the_time(udp, Arc::clone(&is_over));
    for _ in 0..RESTARTS {
        thread::sleep(Duration::from_millis(200));
        server.signal(Signal::SIGTERM);
        server.wait();
        server = start();
        wait_until_it_serves(&log);
    }
    is_over.store(true, Ordering::Relaxed);

    let total = connections.join().expect("no panic");
    let answers = questions.join().expect("no panic");
    let figure = format!(
        "{RESTARTS} restarts, {} connections: {} refused, {} reset, {} without an answer; \
         {answers} datagrams: 0 lost",
        total.opened, total.refused, total.reset, total.unanswered
    );
    record("S4", "restart under socket activation", &figure);
    // Who is accepted just before the stop and asks just after it is closed with no answer, in order.
    assert_eq!((total.refused, total.reset), (0, 0), "{figure}");
}

/// Starts a server that gets its sockets as systemd hands them over.
fn start_activated(listener: &TcpListener, datagrams: &UdpSocket, log: &Path) -> Process {
    let listener = listener.try_clone().expect("cloned");
    let datagrams = datagrams.try_clone().expect("cloned");
    let mut command = activated(listener, datagrams, &["--utc"]);
    Process::start(command.stdout(File::create(log).expect("a log")))
}

/// What became of connections.
#[derive(Default)]
struct Total {
    opened: usize,
    refused: usize,
    reset: usize,
    unanswered: usize,
}

/// Opens connections at a steady pace; each asks one thing.
fn connect_all_the_time(server: SocketAddr, is_over: Arc<AtomicBool>) -> JoinHandle<Total> {
    thread::spawn(move || {
        let start = Instant::now();
        let mut clients = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            clients.push(thread::spawn(move || converse(server)));
            let next = PAUSE * u32::try_from(clients.len()).expect("not so many");
            thread::sleep(next.saturating_sub(start.elapsed()));
        }
        let mut total = Total::default();
        for client in clients {
            total.opened += 1;
            match client.join().expect("no panic") {
                Ok(true) => {}
                Ok(false) => total.unanswered += 1,
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionRefused => total.refused += 1,
                    // What a reset is called depends on what the client was about to do.
                    ErrorKind::ConnectionReset
                    | ErrorKind::BrokenPipe
                    | ErrorKind::NotConnected => total.reset += 1,
                    _ => panic!("{error}"),
                },
            }
        }
        total
    })
}

/// One connection with one request; returns whether it was answered.
fn converse(server: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"12345\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text == "Welcome to the server\n15\n")
}

/// Asks one thing after the other over UDP, and never twice; returns how often.
fn ask_all_the_time(server: SocketAddr, is_over: Arc<AtomicBool>) -> JoinHandle<usize> {
    thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(server).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut answers = 0;
        while !is_over.load(Ordering::Relaxed) {
            socket.send(b"day").expect("sent");
            let length = socket.recv(&mut [0; 64]).expect("an answer");
            answers += usize::from(length > 0);
            thread::sleep(PAUSE);
        }
        answers
    })
}
