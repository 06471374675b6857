//! Restarts of a socket-activated server while clients connect. The test holds the sockets, as systemd does.

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
use crate::{Process, TIMEOUT, folder, record};

/// The interval between connections, and between datagrams.
const INTERVAL: Duration = Duration::from_millis(2);

const RESTARTS: usize = 10;

#[test]
fn s4_a_socket_activated_restart_refuses_and_resets_no_connection() {
    let folder = folder("s4");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let tcp = listener.local_addr().expect("bound");
    let udp = socket.local_addr().expect("bound");
    let log = folder.join("server.log");
    let start = || start_activated(&listener, &socket, &log);

    let mut server = start();
    wait_until_it_serves(&log);
    let is_over = Arc::new(AtomicBool::new(false));
    let connections = connect_at_intervals(tcp, Arc::clone(&is_over));
    let datagrams = request_at_intervals(udp, Arc::clone(&is_over));
    for _ in 0..RESTARTS {
        thread::sleep(Duration::from_millis(200));
        server.signal(Signal::SIGTERM);
        server.wait();
        server = start();
        wait_until_it_serves(&log);
    }
    is_over.store(true, Ordering::Relaxed);

    let total = connections.join().expect("no panic");
    let replies = datagrams.join().expect("no panic");
    let figure = format!(
        "{RESTARTS} restarts, {} connections: {} refused, {} reset, {} without a reply; \
         {replies} datagrams: 0 lost",
        total.opened, total.refused, total.reset, total.unanswered
    );
    record("S4", "restart under socket activation", &figure);
    // A request sent just after the shutdown, on a connection accepted before it, has no reply: the connection
    // is closed in order. So requests without a reply are not an error.
    assert_eq!((total.refused, total.reset), (0, 0), "{figure}");
}

/// Starts a server with inherited sockets.
fn start_activated(listener: &TcpListener, socket: &UdpSocket, log: &Path) -> Process {
    let listener = listener.try_clone().expect("cloned");
    let socket = socket.try_clone().expect("cloned");
    let mut command = activated(listener, socket, &["--utc"]);
    Process::start(command.stdout(File::create(log).expect("a log")))
}

/// The outcomes of connections.
#[derive(Default)]
struct Total {
    opened: usize,
    refused: usize,
    reset: usize,
    unanswered: usize,
}

/// Opens 500 connections a second, with one request each, until `is_over`.
fn connect_at_intervals(server: SocketAddr, is_over: Arc<AtomicBool>) -> JoinHandle<Total> {
    thread::spawn(move || {
        let start = Instant::now();
        let mut clients = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            clients.push(thread::spawn(move || request_once(server)));
            let next = INTERVAL * u32::try_from(clients.len()).expect("fits a u32");
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
                    // The error of a reset depends on the system call that reports it.
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

/// Opens a connection with one request. Returns whether it got its reply.
fn request_once(server: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"12345\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text == "Welcome to the server\n15\n")
}

/// Sends requests over UDP, one at a time and without retries, until `is_over`. Returns the number of replies.
fn request_at_intervals(server: SocketAddr, is_over: Arc<AtomicBool>) -> JoinHandle<usize> {
    thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(server).expect("connected");
        socket.set_read_timeout(Some(TIMEOUT)).expect("set");
        let mut replies = 0;
        while !is_over.load(Ordering::Relaxed) {
            socket.send(b"day").expect("sent");
            let length = socket.recv(&mut [0; 64]).expect("a reply");
            replies += usize::from(length > 0);
            thread::sleep(INTERVAL);
        }
        replies
    })
}
