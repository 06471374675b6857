//! Clients that keep to the protocol, if not always to good manners: each of their requests has one answer,
//! and only that.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use chime_protocol::{DATAGRAM_MAX, Reply};

use crate::Site;
use crate::figures::Figures;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a datagram may take, and how often it is sent.
const DATAGRAM_PATIENCE: Duration = Duration::from_secs(1);
const TRIES: usize = 10;

/// A connection that has been welcomed.
struct Conversation {
    replies: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Conversation {
    fn open(site: Site, figures: &Figures) -> io::Result<Conversation> {
        let stream = TcpStream::connect(site.tcp)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        figures.connections.add(1);
        let mut conversation = Conversation {
            replies: BufReader::new(stream.try_clone()?),
            stream,
        };
        if conversation.reply()? != Reply::Welcome.to_string() {
            figures.wrong.add(1);
        }
        Ok(conversation)
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(text) => Ok(text.to_string()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads the replies to these requests, and the end of the conversation.
    fn check(mut self, requests: &[String], figures: &Figures) {
        for (index, request) in requests.iter().enumerate() {
            match self.reply() {
                Ok(reply) if is_right(request, &reply) => {}
                Ok(_) => figures.wrong.add(1),
                Err(_) => return figures.lost.add((requests.len() - index) as u64),
            }
        }
        match self.replies.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => figures.wrong.add(1),
            Err(_) => figures.lost.add(1),
        }
    }
}

/// Whether a reply is one to this request.
fn is_right(request: &str, reply: &str) -> bool {
    let parsed = Reply::parse(reply.as_bytes());
    let is_digits = !request.is_empty() && request.bytes().all(|byte| byte.is_ascii_digit());
    match request {
        "day" => matches!(parsed, Some(Reply::Weekday(_))),
        "date" => matches!(parsed, Some(Reply::Date(_))),
        "time" => matches!(parsed, Some(Reply::Time(_))),
        "send time" => matches!(parsed, Some(Reply::DateTime(_))),
        "quit" => parsed == Some(Reply::Farewell),
        digits if is_digits => {
            let sum = digits.bytes().map(|byte| u64::from(byte - b'0')).sum();
            parsed == Some(Reply::Sum(sum))
        }
        _ => parsed == Some(Reply::CommandError),
    }
}

fn request() -> String {
    match fastrand::u8(..6) {
        0 => "day".into(),
        1 => "date".into(),
        2 => "time".into(),
        3 => "send time".into(),
        4 => "what?".into(),
        _ => fastrand::u64(..).to_string(),
    }
}

/// Requests of which the last one is to quit.
fn requests(count: usize) -> Vec<String> {
    let mut requests: Vec<String> = (0..count).map(|_| request()).collect();
    requests.push("quit".into());
    requests
}

/// Holds a conversation; if it can't be begun or `write` fails, all its answers are lost.
fn visit(
    site: Site,
    figures: &Figures,
    requests: &[String],
    write: impl FnOnce(&mut Conversation) -> io::Result<()>,
) {
    figures.requests.add(requests.len() as u64);
    let written = Conversation::open(site, figures).and_then(|mut conversation| {
        write(&mut conversation)?;
        Ok(conversation)
    });
    match written {
        Ok(conversation) => conversation.check(requests, figures),
        Err(_) => figures.lost.add(requests.len() as u64),
    }
}

fn lines(requests: &[String]) -> Vec<u8> {
    let lines = requests
        .iter()
        .flat_map(|request| [request.as_bytes(), b"\n"]);
    lines.collect::<Vec<_>>().concat()
}

pub(crate) fn ask_one_by_one(site: Site, figures: &Figures) {
    let mut conversation = match Conversation::open(site, figures) {
        Ok(conversation) => conversation,
        Err(_) => return figures.lost.add(1),
    };
    for request in requests(10) {
        figures.requests.add(1);
        let line = format!("{request}\n");
        let asked = conversation.stream.write_all(line.as_bytes());
        match asked.and_then(|()| conversation.reply()) {
            Ok(reply) if is_right(&request, &reply) => {}
            Ok(_) => figures.wrong.add(1),
            Err(_) => return figures.lost.add(1),
        }
        sleep(Duration::from_millis(fastrand::u64(..20)));
    }
}

pub(crate) fn ask_ahead(site: Site, figures: &Figures) {
    let requests = requests(1_000);
    visit(site, figures, &requests, |conversation| {
        conversation.stream.write_all(&lines(&requests))
    });
}

pub(crate) fn write_in_pieces(site: Site, figures: &Figures) {
    let requests = requests(20);
    visit(site, figures, &requests, |conversation| {
        let bytes = lines(&requests);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(fastrand::usize(1..=7).min(rest.len()));
            conversation.stream.write_all(piece)?;
            rest = others;
            sleep(Duration::from_millis(1));
        }
        Ok(())
    });
}

pub(crate) fn sum_a_long_line(site: Site, figures: &Figures) {
    let digits = (0..1 << 20).map(|_| fastrand::digit(10)).collect();
    let requests = [digits, "quit".into()];
    visit(site, figures, &requests, |conversation| {
        conversation.stream.write_all(&lines(&requests))
    });
}

/// Half-closes after a last line without its end.
pub(crate) fn stop_sending(site: Site, figures: &Figures) {
    let requests: Vec<String> = (0..10).map(|_| request()).collect();
    visit(site, figures, &requests, |conversation| {
        let bytes = lines(&requests);
        conversation.stream.write_all(&bytes[..bytes.len() - 1])?;
        conversation.stream.shutdown(Shutdown::Write)
    });
    sleep(Duration::from_millis(10));
}

/// Lines of any bytes: each has one reply, which is of those that there are.
pub(crate) fn send_junk_lines(site: Site, figures: &Figures) {
    let lines: Vec<Vec<u8>> = (0..100)
        .map(|_| {
            let mut line: Vec<u8> = (0..fastrand::usize(..200))
                .map(|_| fastrand::u8(..))
                .collect();
            line.retain(|byte| *byte != b'\n');
            // No command, whatever it was.
            line.insert(0, b'#');
            line.push(b'\n');
            line
        })
        .collect();
    let mut requests = vec!["#".to_string(); lines.len()];
    requests.push("quit".into());
    visit(site, figures, &requests, |conversation| {
        conversation.stream.write_all(&lines.concat())?;
        conversation.stream.write_all(b"quit\n")
    });
    sleep(Duration::from_millis(10));
}

/// Asks by datagram, again if no answer comes: those may get lost on the way.
pub(crate) fn ask_by_datagram(site: Site, figures: &Figures) {
    let requests = ["day", "date", "time", "send time"];
    let request = fastrand::choice(requests).expect("there are some");
    figures.requests.add(1);
    match answer_to(site, request) {
        Ok(reply) if is_right(request, &reply) => {}
        Ok(_) => figures.wrong.add(1),
        Err(_) => figures.lost.add(1),
    }
    sleep(Duration::from_millis(fastrand::u64(..10)));
}

fn answer_to(site: Site, request: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(site.udp)?;
    socket.set_read_timeout(Some(DATAGRAM_PATIENCE))?;
    let mut reply = [0; DATAGRAM_MAX];
    for _ in 0..TRIES {
        socket.send(request.as_bytes())?;
        if let Ok(length) = socket.recv(&mut reply) {
            return Ok(String::from_utf8_lossy(&reply[..length]).into_owned());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
