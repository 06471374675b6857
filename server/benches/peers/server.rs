//! The servers that are compared: chime, the bare loops, and the peers that are installed here.

use std::env;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// The core on which servers run. The load is made on the other.
const CORE: &str = "0";

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
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let private = rollup.lines().filter(|line| line.starts_with("Private_"));
        let kilobytes =
            private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(kilobytes.sum::<u64>() * 1024)
    }
}

/// A server to be started.
struct Recipe<'a> {
    name: &'static str,
    offers: &'static [Offer],
    load: &'static [&'static str],
    datagram: &'static [u8],
    /// Files that it needs.
    files: &'a [(&'a str, &'a str)],
    /// Words with `ADDRESS`, `PORT` and `FOLDER` in them.
    command: &'a str,
}

impl Recipe<'_> {
    const DEFAULT: Recipe<'static> = Recipe {
        name: "",
        offers: &[],
        load: &[],
        datagram: b"day",
        files: &[],
        command: "",
    };
}

/// What asks an NTP server for the time: version 4, from a client.
const NTP_REQUEST: [u8; 48] = {
    let mut request = [0; 48];
    request[0] = 0x23;
    request
};

/// Starts every server that there is; says which ones there are not.
pub(crate) fn start_all() -> io::Result<Vec<Server>> {
    let this = env::current_exe()?.display().to_string();
    let bare = |kind: &str| format!("{this} {kind} ADDRESS");
    let chime = concat!(
        env!("CARGO_BIN_EXE_chime-server"),
        " --workers 1 --log warn"
    );
    let python = concat!(
        "python3 ",
        env!("CARGO_MANIFEST_DIR"),
        "/benches/peers/threaded.py ADDRESS"
    );
    let recipes = [
        Recipe {
            name: "chime",
            offers: &[Offer::Lines, Offer::Sink],
            command: &format!("{chime} --max-connections 15000 --no-udp --tcp ADDRESS"),
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "chime",
            offers: &[Offer::Datagrams],
            command: &format!("{chime} --no-tcp --udp ADDRESS"),
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "bare loop",
            offers: &[Offer::Lines],
            command: &bare("serve-lines"),
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "bare loop",
            offers: &[Offer::Sink],
            command: &bare("serve-sink"),
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "bare loop",
            offers: &[Offer::Datagrams],
            command: &bare("serve-datagrams"),
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "redis",
            offers: &[Offer::Lines],
            load: &["--greeting-lines", "0", "--request", "PING"],
            files: &[(
                "redis.conf",
                "bind 127.0.0.1\nport PORT\nsave \"\"\nmaxclients 15000\n",
            )],
            command: "redis-server FOLDER/redis.conf",
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "memcached",
            offers: &[Offer::Lines],
            load: &["--greeting-lines", "0", "--request", "version"],
            command: "memcached -u nobody -l 127.0.0.1 -p PORT -U 0 -t 1 -c 15000",
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "Python, threads",
            offers: &[Offer::Lines],
            command: python,
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "xinetd",
            offers: &[Offer::Visits],
            load: &["--greeting-lines", "0", "--request", ""],
            files: &[("xinetd.conf", XINETD)],
            command: "xinetd -dontfork -f FOLDER/xinetd.conf -pidfile FOLDER/xinetd.pid",
            ..Recipe::DEFAULT
        },
        Recipe {
            name: "chronyd",
            offers: &[Offer::Datagrams],
            datagram: &NTP_REQUEST,
            files: &[(
                "chrony.conf",
                "port PORT\ncmdport 0\nallow 127.0.0.0/8\nlocal stratum 1\npidfile FOLDER/chrony.pid\n",
            )],
            command: "chronyd -d -x -u root -f FOLDER/chrony.conf",
            ..Recipe::DEFAULT
        },
    ];
    let mut servers = Vec::new();
    for recipe in &recipes {
        match start(recipe) {
            Ok(server) => servers.push(server),
            Err(error) => eprintln!("left out: {}: {error}", recipe.name),
        }
    }
    Ok(servers)
}

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

fn start(recipe: &Recipe<'_>) -> io::Result<Server> {
    let is_udp = recipe.offers == [Offer::Datagrams];
    let address = free_address(is_udp)?;
    let port = address.rsplit(':').next().expect("an address has a port");
    let folder = env::temp_dir().join(format!("chime-peer-{port}"));
    fs::create_dir_all(&folder)?;
    let fill = |text: &str| {
        let text = text.replace("ADDRESS", &address).replace("PORT", port);
        text.replace("FOLDER", &folder.display().to_string())
    };
    for (name, text) in recipe.files {
        fs::write(folder.join(name), fill(text))?;
    }
    let process = Command::new("taskset")
        .args(["-c", CORE])
        .args(fill(recipe.command).split(' '))
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
