//! The measured servers: chime, the bare loops, and the peers that are installed.

use std::env;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{cpu, memory};

/// Time limit for a server to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// The core of the servers. The load generator runs on the other.
const CORE: &str = "0";

/// All cores, as a `taskset` list. Cores that do not exist are ignored.
pub(crate) const ALL_CORES: &str = "0-1023";

/// A workload with which a server is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Lines over TCP.
    Lines,
    /// One reply per TCP connection, then EOF.
    ShortConnections,
    Datagrams,
    /// One long line over TCP, with a reply at its end.
    LongLine,
    /// Lines over TCP, with all cores shared by the server and the load generator.
    LinesAllCores,
}

/// What the names of the servers in the report mean.
pub(crate) const LEGEND: [&str; 9] = [
    "Servers run on one core, the load generator on another, unless all cores are shared.",
    "chime: one worker; a worker per core where all cores are shared",
    "bare loop: a loop around epoll or recvmmsg, a fixed reply, no parsing",
    "bare + protocol: the epoll loop with chime's protocol, no timeouts or limits",
    "redis: requests are \"PING\"",
    "memcached: requests are \"version\"; a thread per core where all cores are shared",
    "Python, threads: a minimal server in Python, a thread per connection",
    "xinetd daytime: one reply per connection, without a request",
    "chronyd: requests and replies are NTP",
];

/// A running server. Dropping it kills the process.
pub(crate) struct MeasuredServer {
    pub(crate) name: &'static str,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) address: String,
    /// Options of `chime-client bench` for this server.
    pub(crate) load: &'static [&'static str],
    /// A request datagram.
    pub(crate) datagram: &'static [u8],
    process: Child,
    folder: PathBuf,
}

impl Drop for MeasuredServer {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl MeasuredServer {
    /// Returns whether the server runs a thread per connection.
    pub(crate) fn has_threads(&self) -> bool {
        self.name.contains("threads")
    }

    /// Returns the private memory of the process, in bytes.
    pub(crate) fn private_bytes(&self) -> io::Result<u64> {
        memory::private_bytes(&self.process)
    }

    /// Returns the CPU time that the process has used.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        cpu::time(&self.process)
    }
}

/// The specification of a server: how to start it, and with which workloads to measure it.
struct ServerSpec {
    name: &'static str,
    workloads: &'static [Workload],
    load: &'static [&'static str],
    datagram: &'static [u8],
    /// A configuration file: its name and text. `ADDRESS`, `PORT` and `FOLDER` are replaced.
    file: Option<(&'static str, &'static str)>,
    /// The program and its arguments, with the same replacements.
    command: String,
}

impl ServerSpec {
    fn new(
        name: &'static str,
        workloads: &'static [Workload],
        command: impl Into<String>,
    ) -> ServerSpec {
        ServerSpec {
            name,
            workloads,
            load: &[],
            datagram: b"day",
            file: None,
            command: command.into(),
        }
    }
}

/// An NTP version 4 client request.
const NTP_REQUEST: [u8; 48] = {
    let mut request = [0; 48];
    request[0] = 0x23;
    request
};

/// Starts chime, the bare loops and every installed peer. Also returns the names of the peers that did not
/// start, with the error.
///
/// # Errors
///
/// If chime or a bare loop does not start.
pub(crate) fn start_all() -> io::Result<(Vec<MeasuredServer>, Vec<String>)> {
    raise_descriptor_limit()?;
    let (mut servers, mut left_out) = (Vec::new(), Vec::new());
    for spec in ours()? {
        let failed = |error| io::Error::other(format!("cannot start {}: {error}", spec.name));
        servers.push(start(&spec).map_err(failed)?);
    }
    for spec in peers()? {
        match start(&spec) {
            Ok(server) => servers.push(server),
            Err(error) => left_out.push(format!("{}: {error}", spec.name)),
        }
    }
    Ok((servers, left_out))
}

/// Raises the soft limit of open files to the hard limit. Child processes inherit it.
fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Returns chime and the bare loops.
fn ours() -> io::Result<Vec<ServerSpec>> {
    use Workload::{Datagrams, Lines, LinesAllCores, LongLine};

    let this = env::current_exe()?.display().to_string();
    let bare = |kind: &str| format!("{this} {kind} ADDRESS");
    let chime = |options: &str| {
        let server = env!("CARGO_BIN_EXE_chime-server");
        format!("{server} --log warn --max-connections 15000 {options} ADDRESS")
    };
    Ok(vec![
        ServerSpec::new(
            "chime",
            &[Lines, LongLine],
            chime("--workers 1 --no-udp --tcp"),
        ),
        ServerSpec::new("chime", &[Datagrams], chime("--workers 1 --no-tcp --udp")),
        ServerSpec::new("chime", &[LinesAllCores], chime("--no-udp --tcp")),
        ServerSpec::new(
            "chime, 1 thread",
            &[LinesAllCores],
            chime("--workers 1 --no-udp --tcp"),
        ),
        ServerSpec::new("bare loop", &[Lines], bare("serve-lines")),
        ServerSpec::new("bare + protocol", &[Lines], bare("serve-sessions")),
        ServerSpec::new("bare loop", &[LongLine], bare("serve-discard")),
        ServerSpec::new("bare loop", &[Datagrams], bare("serve-datagrams")),
    ])
}

/// Returns the peers.
fn peers() -> io::Result<Vec<ServerSpec>> {
    use Workload::{Datagrams, Lines, LinesAllCores, ShortConnections};

    let threads = available_parallelism()?;
    let memcached = |threads| {
        format!("memcached -u nobody -l 127.0.0.1 -p PORT -U 0 -t {threads} -c 15000 -b 4096")
    };
    let version = &["--greeting-lines", "0", "--request", "version"];
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/threaded.py");
    Ok(vec![
        ServerSpec {
            load: &["--greeting-lines", "0", "--request", "PING"],
            file: Some((
                "redis.conf",
                "bind 127.0.0.1\nport PORT\nsave \"\"\nmaxclients 15000\ntcp-backlog 4096\n",
            )),
            ..ServerSpec::new("redis", &[Lines], "redis-server FOLDER/redis.conf")
        },
        ServerSpec {
            load: version,
            ..ServerSpec::new("memcached", &[Lines], memcached(1))
        },
        ServerSpec {
            load: version,
            ..ServerSpec::new("memcached", &[LinesAllCores], memcached(threads.get()))
        },
        ServerSpec::new(
            "Python, threads",
            &[Lines],
            format!("python3 {python} ADDRESS"),
        ),
        ServerSpec {
            // The service `daytime` replies without a request.
            load: &["--greeting-lines", "0", "--request", ""],
            file: Some(("xinetd.conf", XINETD)),
            ..ServerSpec::new(
                "xinetd daytime",
                &[ShortConnections],
                "xinetd -dontfork -f FOLDER/xinetd.conf -pidfile FOLDER/xinetd.pid",
            )
        },
        ServerSpec {
            datagram: &NTP_REQUEST,
            file: Some(("chrony.conf", CHRONY)),
            ..ServerSpec::new(
                "chronyd",
                &[Datagrams],
                "chronyd -d -x -u root -f FOLDER/chrony.conf",
            )
        },
    ])
}

const CHRONY: &str = "\
port PORT
cmdport 0
allow 127.0.0.0/8
local stratum 1
pidfile FOLDER/chrony.pid
";

const XINETD: &str = "\
defaults
{
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}
service daytime
{
    type = INTERNAL UNLISTED
    id = daytime-stream
    socket_type = stream
    protocol = tcp
    port = PORT
    bind = 127.0.0.1
    wait = no
    user = root
}
";

fn start(spec: &ServerSpec) -> io::Result<MeasuredServer> {
    let is_udp = spec.workloads == [Workload::Datagrams];
    let address = free_address(is_udp)?;
    let port = address.rsplit(':').next().expect("an address has a port");
    let folder = env::temp_dir().join(format!("chime-peer-{port}"));
    fs::create_dir_all(&folder)?;
    let fill = |text: &str| {
        let text = text.replace("ADDRESS", &address).replace("PORT", port);
        text.replace("FOLDER", &folder.display().to_string())
    };
    if let Some((name, text)) = spec.file {
        fs::write(folder.join(name), fill(text))?;
    }
    let cores = match spec.workloads {
        [Workload::LinesAllCores] => ALL_CORES,
        _ => CORE,
    };
    let process = Command::new("taskset")
        .args(["-c", cores])
        .args(fill(&spec.command).split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut server = MeasuredServer {
        name: spec.name,
        workloads: spec.workloads.into(),
        load: spec.load,
        datagram: spec.datagram,
        address,
        process,
        folder,
    };
    let begin = Instant::now();
    while !listens(&server.address, is_udp) {
        if let Some(status) = server.process.try_wait()? {
            return Err(io::Error::other(format!("exited with {status}")));
        }
        if begin.elapsed() > START_MAX {
            return Err(io::Error::other(format!(
                "does not listen after {START_MAX:?}"
            )));
        }
        sleep(Duration::from_millis(20));
    }
    Ok(server)
}

fn free_address(is_udp: bool) -> io::Result<String> {
    let address = match is_udp {
        false => TcpListener::bind("127.0.0.1:0")?.local_addr()?,
        true => UdpSocket::bind("127.0.0.1:0")?.local_addr()?,
    };
    Ok(address.to_string())
}

/// Returns whether a server listens. Over UDP it does if the port is in use.
fn listens(address: &str, is_udp: bool) -> bool {
    match is_udp {
        false => TcpStream::connect(address).is_ok(),
        true => UdpSocket::bind(address).is_err(),
    }
}
