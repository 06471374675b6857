//! Clients whose replies are checked: exactly one expected reply per request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use chime_protocol::{Command, DATAGRAM_MAX, Reply};

use crate::Target;
use crate::counters::Counters;

/// Timeout of a read or write.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout of a reply datagram, and the number of attempts.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 10;

/// A connection whose welcome has been read.
struct Connection {
    replies: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Connection {
    fn open(target: Target, counters: &Counters) -> io::Result<Connection> {
        let stream = TcpStream::connect(target.tcp)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        counters.connections.add(1);
        let mut connection = Connection {
            replies: BufReader::new(stream.try_clone()?),
            stream,
        };
        if connection.reply()? != Reply::Welcome.to_string() {
            counters.wrong.add(1);
        }
        Ok(connection)
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(text) => Ok(text.to_string()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads and checks the replies to these requests, and EOF.
    fn check(mut self, requests: &[String], counters: &Counters) {
        for (index, request) in requests.iter().enumerate() {
            match self.reply() {
                Ok(reply) if is_expected(request, &reply) => {}
                Ok(_) => counters.wrong.add(1),
                Err(_) => return counters.lost.add((requests.len() - index) as u64),
            }
        }
        match self.replies.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => counters.wrong.add(1),
            Err(_) => counters.lost.add(1),
        }
    }
}

/// Returns whether a reply is one expected for this request.
fn is_expected(request: &str, reply: &str) -> bool {
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

/// Returns random requests, followed by `quit`.
fn requests(count: usize) -> Vec<String> {
    let mut requests: Vec<String> = (0..count).map(|_| request()).collect();
    requests.push("quit".into());
    requests
}

/// Opens a connection, calls `write`, and checks the replies. If connecting or `write` fails, all replies
/// count as lost.
fn check_connection(
    target: Target,
    counters: &Counters,
    requests: &[String],
    write: impl FnOnce(&mut Connection) -> io::Result<()>,
) {
    counters.requests.add(requests.len() as u64);
    let written = Connection::open(target, counters).and_then(|mut connection| {
        write(&mut connection)?;
        Ok(connection)
    });
    match written {
        Ok(connection) => connection.check(requests, counters),
        Err(_) => counters.lost.add(requests.len() as u64),
    }
}

fn lines(requests: &[String]) -> Vec<u8> {
    let lines = requests
        .iter()
        .flat_map(|request| [request.as_bytes(), b"\n"]);
    lines.collect::<Vec<_>>().concat()
}

pub(crate) fn request_one_at_a_time(target: Target, counters: &Counters) {
    let mut connection = match Connection::open(target, counters) {
        Ok(connection) => connection,
        Err(_) => return counters.lost.add(1),
    };
    for request in requests(10) {
        counters.requests.add(1);
        let line = format!("{request}\n");
        let written = connection.stream.write_all(line.as_bytes());
        match written.and_then(|()| connection.reply()) {
            Ok(reply) if is_expected(&request, &reply) => {}
            Ok(_) => counters.wrong.add(1),
            Err(_) => return counters.lost.add(1),
        }
        sleep(Duration::from_millis(fastrand::u64(..20)));
    }
}

pub(crate) fn pipeline(target: Target, counters: &Counters) {
    let requests = requests(1_000);
    check_connection(target, counters, &requests, |connection| {
        connection.stream.write_all(&lines(&requests))
    });
}

pub(crate) fn write_small_segments(target: Target, counters: &Counters) {
    let requests = requests(20);
    check_connection(target, counters, &requests, |connection| {
        let bytes = lines(&requests);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (segment, others) = rest.split_at(fastrand::usize(1..=7).min(rest.len()));
            connection.stream.write_all(segment)?;
            rest = others;
            sleep(Duration::from_millis(1));
        }
        Ok(())
    });
}

pub(crate) fn sum_a_long_line(target: Target, counters: &Counters) {
    let digits = (0..1 << 20).map(|_| fastrand::digit(10)).collect();
    let requests = [digits, "quit".into()];
    check_connection(target, counters, &requests, |connection| {
        connection.stream.write_all(&lines(&requests))
    });
}

/// Half-closes after a last line without a line end.
pub(crate) fn half_close(target: Target, counters: &Counters) {
    let requests: Vec<String> = (0..10).map(|_| request()).collect();
    check_connection(target, counters, &requests, |connection| {
        let bytes = lines(&requests);
        connection.stream.write_all(&bytes[..bytes.len() - 1])?;
        connection.stream.shutdown(Shutdown::Write)
    });
    sleep(Duration::from_millis(10));
}

/// Sends lines of random bytes, each of which has one error as its reply.
pub(crate) fn send_invalid_lines(target: Target, counters: &Counters) {
    let lines: Vec<Vec<u8>> = (0..100)
        .map(|_| {
            let mut line: Vec<u8> = (0..fastrand::usize(..200))
                .map(|_| fastrand::u8(..))
                .collect();
            line.retain(|byte| *byte != b'\n');
            // Never a valid command.
            line.insert(0, b'#');
            line.push(b'\n');
            line
        })
        .collect();
    let mut requests = vec!["#".to_string(); lines.len()];
    requests.push("quit".into());
    check_connection(target, counters, &requests, |connection| {
        connection.stream.write_all(&lines.concat())?;
        connection.stream.write_all(b"quit\n")
    });
    sleep(Duration::from_millis(10));
}

/// Sends a request by datagram, with retries: datagrams may be lost.
pub(crate) fn request_by_datagram(target: Target, counters: &Counters) {
    let requests: Vec<_> = Command::time_commands().map(Command::name).collect();
    let request = fastrand::choice(requests).expect("not empty");
    counters.requests.add(1);
    match datagram_reply(target, request) {
        Ok(reply) if is_expected(request, &reply) => {}
        Ok(_) => counters.wrong.add(1),
        Err(_) => counters.lost.add(1),
    }
    sleep(Duration::from_millis(fastrand::u64(..10)));
}

fn datagram_reply(target: Target, request: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(target.udp)?;
    socket.set_read_timeout(Some(DATAGRAM_TIMEOUT))?;
    let mut reply = [0; DATAGRAM_MAX];
    for _ in 0..ATTEMPTS {
        socket.send(request.as_bytes())?;
        if let Ok(length) = socket.recv(&mut reply) {
            return Ok(String::from_utf8_lossy(&reply[..length]).into_owned());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
