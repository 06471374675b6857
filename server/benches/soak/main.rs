//! A soak: many kinds of client, bad ones among them, all on one server for the whole time.
//!
//! `cargo bench -p chime-server --bench soak` lasts two minutes, `-- 10m` ten. It stays on loopback, and ends
//! with a table; it fails if an answer was wrong or missing, or if the server keeps what clients leave.

mod figures;
mod hostile;
#[path = "../peers/memory.rs"]
mod memory;
mod polite;
mod server;

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use figures::Figures;
use server::{Server, Usage};

/// How long it lasts, if not told otherwise.
const DURATION: Duration = Duration::from_secs(120);

/// How often it is told how far it has come.
const TICK: Duration = Duration::from_secs(10);

/// How long the server may take at the end to close what clients have left.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// By how much the memory of the server may have grown.
const GROWTH_MAX_KB: u64 = 16 << 10;

/// Where the server is, and until when there are clients.
#[derive(Clone, Copy)]
struct Site {
    tcp: SocketAddr,
    udp: SocketAddr,
    end: Instant,
}

impl Site {
    fn is_open(&self) -> bool {
        Instant::now() < self.end
    }
}

/// A kind of client: its name, how many there are, and what one does again and again.
type Kind = (&'static str, usize, fn(Site, &Figures));

const KINDS: [Kind; 12] = [
    ("ask one by one", 20, polite::ask_one_by_one),
    ("ask ahead", 4, polite::ask_ahead),
    ("write in pieces", 4, polite::write_in_pieces),
    ("sum a long line", 2, polite::sum_a_long_line),
    ("stop sending", 4, polite::stop_sending),
    ("ask by datagram", 8, polite::ask_by_datagram),
    ("send junk lines", 4, polite::send_junk_lines),
    ("drip", 20, hostile::drip),
    ("take no replies", 10, hostile::take_no_replies),
    ("reset", 10, hostile::reset),
    ("say nothing", 20, hostile::say_nothing),
    ("send junk datagrams", 2, hostile::send_junk_datagrams),
];

fn main() -> ExitCode {
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let duration = match &words[..] {
        [] => Ok(DURATION),
        [word] => humantime::parse_duration(word).map_err(|error| error.to_string()),
        _ => Err("at most one argument: how long it lasts".to_string()),
    };
    match duration {
        Ok(duration) => soak(duration),
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(duration: Duration) -> ExitCode {
    let server = Server::start();
    let site = Site {
        tcp: server.tcp,
        udp: server.udp,
        end: Instant::now() + duration,
    };
    // What is taken once is taken now.
    polite::ask_ahead(site, &Figures::default());
    polite::ask_by_datagram(site, &Figures::default());
    let before = server.settled(1, SETTLE_MAX);
    let figures: Vec<Figures> = KINDS.iter().map(|_| Figures::default()).collect();
    thread::scope(|scope| {
        for ((_, count, visit), figures) in KINDS.into_iter().zip(&figures) {
            for _ in 0..count {
                scope.spawn(move || {
                    while site.is_open() {
                        visit(site, figures);
                    }
                });
            }
        }
        while site.is_open() {
            sleep(TICK.min(site.end.saturating_duration_since(Instant::now())));
            let requests: u64 = figures.iter().map(|figures| figures.requests.get()).sum();
            eprintln!("{requests} requests, {:?} left", left(site));
        }
    });
    let after = server.settled(before.descriptors, SETTLE_MAX);
    report(&figures, before, after)
}

fn left(site: Site) -> Duration {
    Duration::from_secs(site.end.saturating_duration_since(Instant::now()).as_secs())
}

/// Prints the table, and says whether all is well.
fn report(figures: &[Figures], before: Usage, after: Usage) -> ExitCode {
    println!(
        "{:<22}{:>8}{}",
        "what clients do",
        "clients",
        Figures::HEADINGS
    );
    for ((name, count, _), figures) in KINDS.iter().zip(figures) {
        println!("{name:<22}{count:>8}{figures}");
    }
    let total = figures.iter().fold(Figures::default(), Figures::plus);
    let clients: usize = KINDS.iter().map(|(_, count, _)| count).sum();
    println!("{:<22}{clients:>8}{total}\n", "all");
    println!("the server        at the start    at the end");
    println!(
        "memory, kB    {:>16}{:>14}",
        before.memory_kb, after.memory_kb
    );
    println!(
        "descriptors   {:>16}{:>14}",
        before.descriptors, after.descriptors
    );
    let is_well = total.wrong.get() == 0
        && total.lost.get() == 0
        && after.descriptors <= before.descriptors
        && after.memory_kb <= before.memory_kb + GROWTH_MAX_KB;
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
