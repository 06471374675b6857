//! The command `chime-server` as a process, and its clients.

pub(crate) mod waiting;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use waiting::{PATIENCE, wait_until};

/// The flags of a server for tests: free ports, and a time zone that all machines know.
pub(crate) const FLAGS: [&str; 5] = ["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--utc"];

/// A running `chime-server`, killed when it goes out of scope.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// The addresses it serves, in the order of its flags.
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) udp: Vec<SocketAddr>,
    /// The address of its pages for operators, if it announced one.
    pub(crate) admin: Option<SocketAddr>,
}

impl Server {
    /// Starts one with [`FLAGS`] and these, and waits until it serves.
    pub(crate) fn start(more_flags: &[&str]) -> Server {
        let flags = [&FLAGS, more_flags].concat();
        let count = |flag: &str| flags.iter().filter(|other| **other == flag).count();
        let sockets = count("--tcp") + count("--udp") + count("--admin");
        Server::spawn(&mut command(&flags), sockets)
    }

    /// Starts this command, and waits until it serves so many sockets.
    pub(crate) fn spawn(command: &mut Command, sockets: usize) -> Server {
        let mut child = command.spawn().expect("the server starts");
        let lines = lines_of(child.stdout.take().expect("stdout is piped"));
        let (tcp, udp, admin) = (Vec::new(), Vec::new(), None);
        let mut server = Server {
            child,
            tcp,
            udp,
            admin,
        };
        for _ in 0..sockets {
            let line = lines.recv_timeout(PATIENCE).expect("a line");
            let socket = line.strip_prefix("listening on ").expect("an announcement");
            let (kind, address) = socket.split_once(' ').expect("two words");
            let address = address.parse().expect("an address");
            match kind {
                "tcp" => server.tcp.push(address),
                "udp" => server.udp.push(address),
                "admin" => server.admin = Some(address),
                _ => panic!("{line}"),
            }
        }
        server
    }

    /// Connects, and leaves the welcome unread.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp[0]).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    /// Sends all of `bytes`, then no more, and returns everything the server says.
    pub(crate) fn converse(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        rest_of(stream)
    }

    /// A socket that sends to the server and hears from nobody else.
    pub(crate) fn datagrams(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(self.udp[0]).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process"));
        kill(pid, signal).expect("signalled");
    }

    /// Sends this signal until the process has ended: one too soon after the first does not count.
    pub(crate) fn force(&mut self, signal: Signal) -> ExitStatus {
        let mut status = None;
        wait_until("another signal ends the server", || {
            self.signal(signal);
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it ended")
    }

    /// Waits for the end of the process, and returns what it logged too, if that goes to a pipe.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let stderr = self.child.stderr.take();
        let log = thread::spawn(move || {
            let mut log = String::new();
            if let Some(mut stderr) = stderr {
                stderr.read_to_string(&mut log).expect("a log");
            }
            log
        });
        let mut status = None;
        wait_until("the server ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        (status.expect("it ended"), log.join().expect("no panic"))
    }
}

/// The server with these flags. What it prints and logs goes to pipes.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chime-server"));
    command
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls again what a signal interrupted: the system restarts no call on a socket with a timeout,
/// see signal(7).
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The lines of a process as they come.
fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // No one waits for more than the announcements.
            let _ = sender.send(line);
        }
    });
    lines
}

/// Everything that still comes from a server, up to the end.
pub(crate) fn rest_of(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("an end, not a reset");
    String::from_utf8(text).expect("ASCII")
}

/// Reads one line, with its line end, and no further.
pub(crate) fn read_line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line");
        line.extend(byte);
    }
    String::from_utf8(line).expect("ASCII")
}

/// Writes until the server has not read for a while, because nobody takes its replies, or all is
/// written; returns how much was.
pub(crate) fn write_until_stopped(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let a_while = Duration::from_secs(1);
    stream.set_write_timeout(Some(a_while)).expect("set");
    let mut written = 0;
    while written < bytes.len() {
        match uninterrupted(|| stream.write(&bytes[written..])) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("after {written} bytes: {error}"),
        }
    }
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    written
}
