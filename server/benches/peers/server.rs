//! The servers that are compared: chime, the bare loops, and the peers that are installed here.

use std::env;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use crate::memory;

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// The core on which servers run. The load is made on the other.
const CORE: &str = "0";

/// What `taskset` takes for all of them: those that there are not do not matter to it.
pub(crate) const ALL_CORES: &str = "0-1023";

/// What a server offers to be measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// A conversation of lines.
    Lines,
    /// An answer to who connects, and then the end.
    Visits,
    Datagrams,
    /// Something at the end of a long line.
    Sink,
    /// A conversation of lines, by threads that share all cores with the load.
    AllCores,
}

/// A server that runs, until it is dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) offers: Vec<Offer>,
    pub(crate) address: String,
    /// What the load has to know of it.
    pub(crate) load: &'static [&'static str],
    /// What it answers when it comes in a datagram.
    pub(crate) datagram: &'static [u8],
    process: Child,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// Whether each connection takes a thread.
    pub(crate) fn has_threads(&self) -> bool {
        self.name.contains("threads")
    }

    /// The memory that is this process's alone, in bytes.
    pub(crate) fn private_bytes(&self) -> io::Result<u64> {
        memory::private_bytes(&self.process)
    }
}

/// A server to be started.
struct Recipe {
    name: &'static str,
    offers: &'static [Offer],
    load: &'static [&'static str],
    datagram: &'static [u8],
    /// Files that it needs: a name and a text, with `ADDRESS`, `PORT` and `FOLDER` in it.
    file: Option<(&'static str, &'static str)>,
    /// The program and its arguments, with the same in them.
    command: String,
}

impl Recipe {
    fn new(name: &'static str, offers: &'static [Offer], command: impl Into<String>) -> Recipe {
        Recipe {
            name,
            offers,
            load: &[],
            datagram: b"day",
            file: None,
            command: command.into(),
        }
    }
}

/// What asks an NTP server for the time: version 4, from a client.
const NTP_REQUEST: [u8; 48] = {
    let mut request = [0; 48];
    request[0] = 0x23;
    request
};

/// Starts every server that there is; says which ones there are not.
pub(crate) fn start_all() -> io::Result<Vec<Server>> {
    let mut servers = Vec::new();
    for recipe in ours()?.into_iter().chain(peers()?) {
        match start(&recipe) {
            Ok(server) => servers.push(server),
            Err(error) => eprintln!("left out: {}: {error}", recipe.name),
        }
    }
    Ok(servers)
}

/// chime, and the bare loops.
fn ours() -> io::Result<Vec<Recipe>> {
    use Offer::{AllCores, Datagrams, Lines, Sink};

    let this = env::current_exe()?.display().to_string();
    let bare = |kind: &str| format!("{this} {kind} ADDRESS");
    let chime = |options: &str| {
        let server = env!("CARGO_BIN_EXE_chime-server");
        format!("{server} --log warn --max-connections 15000 {options} ADDRESS")
    };
    Ok(vec![
        Recipe::new("chime", &[Lines, Sink], chime("--workers 1 --no-udp --tcp")),
        Recipe::new("chime", &[Datagrams], chime("--workers 1 --no-tcp --udp")),
        Recipe::new("chime", &[AllCores], chime("--no-udp --tcp")),
        Recipe::new(
            "chime, 1 thread",
            &[AllCores],
            chime("--workers 1 --no-udp --tcp"),
        ),
        Recipe::new("bare loop", &[Lines], bare("serve-lines")),
        Recipe::new("bare, sessions", &[Lines], bare("serve-sessions")),
        Recipe::new("bare loop", &[Sink], bare("serve-sink")),
        Recipe::new("bare loop", &[Datagrams], bare("serve-datagrams")),
    ])
}

/// The servers of others.
fn peers() -> io::Result<Vec<Recipe>> {
    use Offer::{AllCores, Datagrams, Lines, Visits};

    let threads = available_parallelism()?;
    let memcached =
        |threads| format!("memcached -u nobody -l 127.0.0.1 -p PORT -U 0 -t {threads} -c 15000");
    let version = &["--greeting-lines", "0", "--request", "version"];
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/threaded.py");
    Ok(vec![
        Recipe {
            load: &["--greeting-lines", "0", "--request", "PING"],
            file: Some((
                "redis.conf",
                "bind 127.0.0.1\nport PORT\nsave \"\"\nmaxclients 15000\n",
            )),
            ..Recipe::new("redis", &[Lines], "redis-server FOLDER/redis.conf")
        },
        Recipe {
            load: version,
            ..Recipe::new("memcached", &[Lines], memcached(1))
        },
        Recipe {
            load: version,
            ..Recipe::new("memcached", &[AllCores], memcached(threads.get()))
        },
        Recipe::new(
            "Python, threads",
            &[Lines],
            format!("python3 {python} ADDRESS"),
        ),
        Recipe {
            // It answers who connects, and does not wait to be asked.
            load: &["--greeting-lines", "0", "--request", ""],
            file: Some(("xinetd.conf", XINETD)),
            ..Recipe::new(
                "xinetd, unasked",
                &[Visits],
                "xinetd -dontfork -f FOLDER/xinetd.conf -pidfile FOLDER/xinetd.pid",
            )
        },
        Recipe {
            datagram: &NTP_REQUEST,
            file: Some(("chrony.conf", CHRONY)),
            ..Recipe::new(
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

fn start(recipe: &Recipe) -> io::Result<Server> {
    let is_udp = recipe.offers == [Offer::Datagrams];
    let address = free_address(is_udp)?;
    let port = address.rsplit(':').next().expect("an address has a port");
    let folder = env::temp_dir().join(format!("chime-peer-{port}"));
    fs::create_dir_all(&folder)?;
    let fill = |text: &str| {
        let text = text.replace("ADDRESS", &address).replace("PORT", port);
        text.replace("FOLDER", &folder.display().to_string())
    };
    if let Some((name, text)) = recipe.file {
        fs::write(folder.join(name), fill(text))?;
    }
    let cores = match recipe.offers {
        [Offer::AllCores] => ALL_CORES,
        _ => CORE,
    };
    let process = Command::new("taskset")
        .args(["-c", cores])
        .args(fill(&recipe.command).split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut server = Server {
        name: recipe.name,
        offers: recipe.offers.into(),
        load: recipe.load,
        datagram: recipe.datagram,
        address,
        process,
        folder,
    };
    let begin = Instant::now();
    while !listens(&server.address, is_udp) {
        if let Some(status) = server.process.try_wait()? {
            return Err(io::Error::other(format!("it ended with {status}")));
        }
        if begin.elapsed() > START_MAX {
            return Err(io::Error::other("it does not listen"));
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

/// Whether someone listens. A datagram socket does when the port is taken.
fn listens(address: &str, is_udp: bool) -> bool {
    match is_udp {
        false => TcpStream::connect(address).is_ok(),
        true => UdpSocket::bind(address).is_err(),
    }
}
