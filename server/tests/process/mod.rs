//! Runs `chime-server` as a process, and connects clients to it.

pub(crate) mod isolated;
pub(crate) mod waiting;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use isolated::isolated;
pub(crate) use waiting::{TIMEOUT, wait_until};

/// The flags of a server under test: free ports, and a time zone that exists on every machine.
pub(crate) const FLAGS: [&str; 5] = ["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--utc"];

/// A running `chime-server`. Dropping it kills the process.
pub(crate) struct ServerProcess {
    pub(crate) child: Child,
    /// The addresses that it serves, in the order of its flags.
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) udp: Vec<SocketAddr>,
    /// The admin address, if it announced one.
    pub(crate) admin: Option<SocketAddr>,
}

impl ServerProcess {
    /// Starts the server with [`FLAGS`] and `more_flags`, and waits until it serves.
    pub(crate) fn start(more_flags: &[&str]) -> ServerProcess {
        let flags = [&FLAGS, more_flags].concat();
        let count = |flag: &str| flags.iter().filter(|other| **other == flag).count();
        let sockets = count("--tcp") + count("--udp") + count("--admin");
        ServerProcess::spawn(&mut command(&flags), sockets)
    }

    /// Starts `command`, and waits until it serves this number of sockets.
    pub(crate) fn spawn(command: &mut Command, sockets: usize) -> ServerProcess {
        let mut child = command.spawn().expect("the server starts");
        let lines = stdout_lines(child.stdout.take().expect("stdout is piped"));
        let (tcp, udp, admin) = (Vec::new(), Vec::new(), None);
        let mut server = ServerProcess {
            child,
            tcp,
            udp,
            admin,
        };
        for _ in 0..sockets {
            let line = lines.recv_timeout(TIMEOUT).expect("a line on stdout");
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
        stream.set_read_timeout(Some(TIMEOUT)).expect("set");
        stream.set_write_timeout(Some(TIMEOUT)).expect("set");
        stream
    }

    /// Sends `bytes`, half-closes, and returns everything received, the welcome included.
    pub(crate) fn replies_to(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        read_to_eof(stream)
    }

    /// Returns a UDP socket connected to the server.
    pub(crate) fn udp_client(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(self.udp[0]).expect("connected");
        socket.set_read_timeout(Some(TIMEOUT)).expect("set");
        socket
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id"));
        kill(pid, signal).expect("signalled");
    }

    /// Sends `signal` until the process exits: the kernel merges signals that are pending together.
    pub(crate) fn signal_until_exit(&mut self, signal: Signal) -> ExitStatus {
        let mut status = None;
        wait_until("a second signal ends the server", || {
            self.signal(signal);
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it has exited")
    }

    /// Waits until the process exits. Returns its status and its log, if stderr is a pipe.
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
        wait_until("the server exits", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        (
            status.expect("it has exited"),
            log.join().expect("no panic"),
        )
    }
}

/// Raises the soft limit of open files to the hard limit, and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
    hard
}

/// Returns whether this machine has IPv6. If not, says so on stderr, also if the test passes.
pub(crate) fn has_ipv6() -> bool {
    let has_ipv6 = UdpSocket::bind("[::1]:0").is_ok();
    if !has_ipv6 {
        let _ =
            io::stderr().write_all(b"SKIPPED: cases that need IPv6, which this machine lacks\n");
    }
    has_ipv6
}

/// Returns a command that starts the server with these flags, its stdout and stderr piped.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
    command
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Fails only if the process has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats `call` while it fails with EINTR: calls on a socket with a timeout are not restarted, see
/// signal(7).
pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Returns a channel with the lines of the process.
fn stdout_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The receiver is dropped after the announcements.
            let _ = sender.send(line);
        }
    });
    lines
}

/// Reads until EOF.
pub(crate) fn read_to_eof(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("EOF, not a reset");
    String::from_utf8(text).expect("ASCII")
}

/// Reads one line, with its line end, and not a byte more.
pub(crate) fn read_line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line");
        line.extend(byte);
    }
    String::from_utf8(line).expect("ASCII")
}

/// Writes until all bytes are written or the stream has not been writable for a second: the server does
/// not read while its replies are unread. Returns the number of bytes written.
pub(crate) fn write_until_blocked(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let blocked = Duration::from_secs(1);
    stream.set_write_timeout(Some(blocked)).expect("set");
    let mut written = 0;
    while written < bytes.len() {
        match retry_interrupted(|| stream.write(&bytes[written..])) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("after {written} bytes: {error}"),
        }
    }
    stream.set_write_timeout(Some(TIMEOUT)).expect("set");
    written
}
