//! Clients: some use the client library, others write bytes of their own.
//!
//! The blocking form of the library takes no part: it runs a tokio runtime of its own, which cannot run inside that of
//! the simulation. `client/tests/loopback/library.rs` compares each of its calls with the asynchronous form.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chime_client::{Connection, Error, ask_datagram};
use chime_protocol::{Command, Framing, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, duplex, split};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::server::destination;
use super::{
    Act, Behaviour, Destination, DestinationAddress, Ending, Header, Reading, Server, Source,
    Target, Timeout,
};
use crate::exec::{ClientHost, DatagramSocket, Received, Stream, millis};
use crate::scenario::Text;
use crate::trace::ClientEvent;

/// How long a client without the library waits to connect, and beyond the idle timeout of the server.
const PATIENCE: Duration = Duration::from_secs(3);

/// A little more than the server waits for the client to close, after its own half-close.
const LINGER: Duration = Duration::from_millis(1_200);

/// Longer than anything from the server can be under way.
const UNDER_WAY: Duration = Duration::from_millis(700);

/// The number of connections that a client tries.
const ATTEMPTS: usize = 4;

/// The lines of a client that verifies the recovery.
pub(super) const RECOVERY_LINES: [&str; 2] = ["day", "quit"];

/// The command that a client that verifies the recovery sends over UDP.
pub(super) const RECOVERY_COMMAND: &str = "send time";

/// How long a client waits for replies to its own datagrams.
const DATAGRAM_WAIT: Duration = Duration::from_millis(200);

/// A client of a server with these settings.
pub(super) struct Task<'a> {
    pub(super) server: Server,
    pub(super) host: &'a ClientHost,
}

impl Task<'_> {
    /// Runs the client.
    pub(super) async fn run(&self, behaviour: Behaviour) {
        match behaviour {
            Behaviour::Ask {
                to,
                lines,
                pause_ms,
                timeout_ms,
            } => {
                self.ask(&to, &lines, millis(pause_ms), timeout_ms, ATTEMPTS)
                    .await;
            }
            Behaviour::Pipe {
                to,
                chunks,
                pause_ms,
                timeout_ms,
            } => self.pipe(&to, chunks, millis(pause_ms), timeout_ms).await,
            Behaviour::AskDatagrams {
                to,
                commands,
                pause_ms,
                timeout_ms,
            } => {
                for command in commands {
                    self.ask_datagram(to, &command, timeout_ms).await;
                    sleep(millis(pause_ms)).await;
                }
            }
            Behaviour::Write {
                to,
                acts,
                reading,
                ending,
            } => self.write(&to, acts, reading, ending).await,
            Behaviour::WriteDatagrams {
                to,
                datagrams,
                source,
                pause_ms,
            } => {
                let written = self.write_datagrams(to, datagrams, source, millis(pause_ms));
                self.record_error(written.await);
            }
        }
    }

    /// Uses both transports, as far as the server serves clients of this host. Returns whether it was served.
    pub(super) async fn verify_recovery(&self) -> bool {
        let timeout = Timeout::default();
        let is_served = match self.server.target_for(self.host.ip()) {
            None => true,
            Some(to) => match self.server.listener(&to).1.framing {
                Framing::Line => {
                    let lines = RECOVERY_LINES.map(Into::into);
                    self.ask(&to, &lines, Duration::ZERO, timeout, 1).await
                }
                Framing::Read => self.write_and_read(&to, "quit").await,
            },
        };
        let is_refused = !self.server.serves(self.host.ip());
        let to = Destination::default();
        is_served && (is_refused || self.ask_datagram(to, RECOVERY_COMMAND, timeout).await)
    }

    fn record(&self, event: ClientEvent) {
        self.host.record(event);
    }

    async fn connect(&self, to: &Target, timeout: Duration) -> io::Result<Stream> {
        self.host.connect(self.server.listener(to).0, timeout).await
    }

    /// The PROXY header, if the listener expects one.
    fn header<'a>(&self, to: &'a Target) -> Option<&'a Header> {
        let is_proxied = self.server.listener(to).1.is_proxied();
        to.header.as_ref().filter(|_| is_proxied)
    }

    /// Connects, and sends the PROXY header if the listener expects one.
    async fn connect_through(&self, to: &Target, connect_timeout: Duration) -> io::Result<Stream> {
        let mut stream = self.connect(to, connect_timeout).await?;
        let header = self.header(to).map(Header::acts).unwrap_or_default();
        timeout(self.patience(to), act(header, &mut stream)).await??;
        Ok(stream)
    }

    /// Records an error; returns whether there was none.
    fn record_error<E: ToString>(&self, ended: Result<(), E>) -> bool {
        if let Err(error) = &ended {
            self.record(ClientEvent::Failed(error.to_string()));
        }
        ended.is_ok()
    }

    /// Sends these lines, and connects again after an error; returns whether all were answered.
    async fn ask(
        &self,
        to: &Target,
        lines: &[String],
        pause: Duration,
        timeout: Timeout,
        attempts: usize,
    ) -> bool {
        let timeout = millis(timeout.0);
        let mut lines = lines.iter().peekable();
        for attempt in 0..attempts {
            if attempt > 0 {
                sleep(pause).await;
            }
            let asking = async {
                let stream = self.connect_through(to, timeout).await?;
                let mut connection = Connection::greet(stream, timeout).await?;
                while let Some(line) = lines.peek() {
                    let request = Request::of_line(line);
                    let reply = match request {
                        Request::Digits(_) => Some(sum(&mut connection, line.trim()).await?),
                        _ => connection.ask(line).await?,
                    };
                    if let Some(reply) = reply {
                        self.record(ClientEvent::Reply(reply.to_string()));
                    }
                    lines.next();
                    if request.is_quit() {
                        break;
                    }
                    sleep(pause).await;
                }
                Ok::<_, Error>(())
            };
            if self.record_error(asking.await) {
                return true;
            }
        }
        false
    }

    async fn pipe(&self, to: &Target, chunks: Vec<Text>, pause: Duration, timeout: Timeout) {
        let timeout = millis(timeout.0);
        let (mut writer, input) = duplex(65_536);
        let feed = async move {
            for (index, chunk) in chunks.iter().enumerate() {
                if index > 0 {
                    sleep(pause).await;
                }
                // The pipe reads no more after `quit`.
                let _ = writer.write_all(chunk).await;
            }
        };
        let pipe = async {
            let stream = self.connect_through(to, timeout).await?;
            let mut pipe = Connection::greet(stream, timeout).await?.pipe(input);
            while let Some(reply) = pipe.next().await? {
                self.record(ClientEvent::Reply(reply.to_string()));
            }
            Ok::<_, Error>(())
        };
        let converse = async { self.record_error(pipe.await) };
        tokio::join!(biased; converse, feed);
    }

    async fn ask_datagram(&self, to: Destination, name: &str, timeout: Timeout) -> bool {
        self.record(ClientEvent::SendsDatagrams);
        let command = Command::time_commands().find(|command| command.name() == name);
        let command = command.expect("scenarios have time commands only");
        let asking = async {
            let socket = self.host.bind_datagrams().await?;
            let here = self.host.address(&socket)?;
            let there = self.address(to);
            let socket = Connected {
                socket,
                here,
                there,
            };
            ask_datagram(&socket, command, millis(timeout.0)).await
        };
        let reply = asking.await;
        if let Ok(reply) = &reply {
            self.record(ClientEvent::Reply(reply.to_string()));
        }
        self.record_error(reply.map(drop))
    }

    async fn write(&self, to: &Target, acts: Vec<Act>, reading: Reading, ending: Ending) {
        let acts = match self.header(to) {
            Some(header) => header.before(acts),
            None => acts,
        };
        let stream = match self.connect(to, PATIENCE).await {
            Ok(stream) => stream,
            Err(error) => {
                self.record_error(Err(error));
                return;
            }
        };
        let server_left = stream.other_end_dropped();
        let (mut reader, mut writer) = split(stream);
        let has_sent = Cell::new(false);
        let act = async {
            let acted = timeout(PATIENCE + self.patience(to), act(acts, &mut writer)).await;
            has_sent.set(true);
            match acted {
                Ok(Ok(())) => self.record(ClientEvent::Sent),
                Ok(Err(error)) => {
                    self.record_error(Err(error));
                }
                Err(_) => {
                    self.record_error(Err("sending timed out"));
                }
            }
        };
        let read = async {
            // It waits after it has sent all.
            let mut had_sent = has_sent.get();
            while timeout(self.patience(to), read(&mut reader, &reading))
                .await
                .unwrap_or(!had_sent)
            {
                had_sent = has_sent.get();
            }
        };
        let all_has_arrived = async {
            server_left.await;
            sleep(UNDER_WAY).await;
        };
        match ending {
            Ending::Await => {
                let is_done = tokio::select! {
                    biased;
                    _ = async { tokio::join!(biased; read, act) } => true,
                    () = all_has_arrived => false,
                };
                if !is_done && reading != Reading::Never {
                    read_rest(&mut reader).await;
                }
            }
            Ending::Leave | Ending::Forget => tokio::select! {
                biased;
                () = act => {}
                () = async { read.await; pending().await } => {}
            },
        }
        if ending == Ending::Forget {
            self.host.forget(reader.unsplit(writer));
        }
    }

    /// How long a client waits before it leaves: longer than the server does before it closes.
    fn patience(&self, to: &Target) -> Duration {
        let header = match self.server.listener(to).1.is_proxied() {
            true => PATIENCE,
            false => Duration::ZERO,
        };
        millis(self.server.idle_timeout_ms) + LINGER + header
    }

    /// Sends a command and reads to EOF; returns whether the server served it.
    async fn write_and_read(&self, to: &Target, command: &str) -> bool {
        let exchange = async {
            let mut stream = self.connect_through(to, PATIENCE).await?;
            let mut bytes = Vec::new();
            // With framing `read`, one write is one command.
            stream.write_all(command.as_bytes()).await?;
            stream.read_to_end(&mut bytes).await?;
            match bytes.is_empty() || bytes.starts_with(b"The server is full") {
                true => Err(io::Error::other("not served")),
                false => Ok(()),
            }
        };
        let exchanged = timeout(self.patience(to), exchange).await;
        self.record_error(exchanged.unwrap_or_else(|elapsed| Err(elapsed.into())))
    }

    /// The address of a destination. Only a wildcard socket has others than the primary.
    fn address(&self, to: Destination) -> SocketAddr {
        let (number, socket) = self.server.udp_socket(to);
        let address = match socket.is_wildcard {
            true => to.address,
            false => DestinationAddress::Primary,
        };
        destination(number, address)
    }

    async fn write_datagrams(
        &self,
        to: Destination,
        datagrams: Vec<Text>,
        source: Source,
        pause: Duration,
    ) -> io::Result<()> {
        self.record(ClientEvent::SendsDatagrams);
        let socket = self.host.bind_datagrams().await?;
        let (here, server) = (self.host.address(&socket)?, self.address(to));
        let from = match source {
            Source::Sender => here,
            Source::Server => server,
            Source::Nobody => SocketAddr::new(here.ip(), 2009),
            Source::Service => SocketAddr::new(here.ip(), 13),
            Source::Elsewhere(address) => SocketAddr::new(address.to_canonical(), 4711),
        };
        for datagram in datagrams {
            socket.send(&datagram, from, server).await?;
            sleep(pause).await;
        }
        while let Ok(received) = timeout(DATAGRAM_WAIT, socket.receive()).await {
            received?;
        }
        Ok(())
    }
}

async fn act(acts: Vec<Act>, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    for act in acts {
        match act {
            Act::Write(bytes) => writer.write_all(&bytes).await?,
            Act::Pause(pause) => sleep(millis(pause)).await,
            Act::Shut => writer.shutdown().await?,
        }
    }
    Ok(())
}

/// Reads once; returns whether there is more to read.
async fn read(reader: &mut ReadHalf<Stream>, reading: &Reading) -> bool {
    let mut buffer = [0; 1024];
    let length = match *reading {
        Reading::Eager => buffer.len(),
        Reading::Slow { bytes, pause_ms } => {
            sleep(millis(pause_ms)).await;
            bytes.clamp(1, buffer.len())
        }
        Reading::Never => return pending().await,
    };
    reader
        .read(&mut buffer[..length])
        .await
        .is_ok_and(|length| length > 0)
}

/// Reads what has arrived.
async fn read_rest(reader: &mut ReadHalf<Stream>) {
    let read_all = async { while read(reader, &Reading::Eager).await {} };
    let _: Result<(), Elapsed> = timeout(millis(1), read_all).await;
}

/// Sends digits as a stream; returns the reply.
async fn sum(connection: &mut Connection<Stream>, digits: &str) -> Result<Reply, Error> {
    match connection.sum(digits.as_bytes()).await {
        Ok(sum) => Ok(Reply::Sum(sum)),
        Err(Error::ErrorReply(reply)) => Ok(reply),
        Err(error) => Err(error),
    }
}

/// A client's socket that sends to one address of the server and receives from it alone.
struct Connected {
    socket: DatagramSocket,
    here: SocketAddr,
    there: SocketAddr,
}

impl chime_client::Datagrams for Connected {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram, self.here, self.there).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Received { bytes, from, .. } = self.socket.receive().await?;
            if from == self.there {
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                return Ok(length);
            }
        }
    }
}
