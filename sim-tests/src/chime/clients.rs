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
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, duplex, split};
use tokio::time::{sleep, timeout};

use super::{Act, Behaviour, Ending, Reading, Server, Source, Timeout};
use crate::exec::{ClientHost, DatagramSocket, Stream, millis, server_address};
use crate::scenario::Text;
use crate::trace::ClientEvent;

/// How long a client without the library waits to connect, and beyond the idle timeout of the server.
const PATIENCE: Duration = Duration::from_secs(3);

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
                lines,
                pause_ms,
                timeout_ms,
            } => {
                self.ask(&lines, millis(pause_ms), timeout_ms, ATTEMPTS)
                    .await;
            }
            Behaviour::Pipe {
                chunks,
                pause_ms,
                timeout_ms,
            } => self.pipe(chunks, millis(pause_ms), timeout_ms).await,
            Behaviour::AskDatagrams {
                commands,
                pause_ms,
                timeout_ms,
            } => {
                for command in commands {
                    self.ask_datagram(&command, timeout_ms).await;
                    sleep(millis(pause_ms)).await;
                }
            }
            Behaviour::Write {
                acts,
                reading,
                ending,
            } => self.write(acts, reading, ending).await,
            Behaviour::WriteDatagrams {
                datagrams,
                source,
                pause_ms,
            } => {
                let written = self.write_datagrams(datagrams, source, millis(pause_ms));
                self.record_error(written.await);
            }
        }
    }

    /// Uses both transports. Returns whether it was served.
    pub(super) async fn verify_recovery(&self) -> bool {
        let timeout = Timeout::default();
        let is_served = match self.server.framing {
            Framing::Line => {
                self.ask(&RECOVERY_LINES.map(Into::into), Duration::ZERO, timeout, 1)
                    .await
            }
            Framing::Read => self.write_and_read("quit").await,
        };
        is_served && self.ask_datagram(RECOVERY_COMMAND, timeout).await
    }

    fn record(&self, event: ClientEvent) {
        self.host.record(event);
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
                let stream = self.host.connect(timeout).await?;
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

    async fn pipe(&self, chunks: Vec<Text>, pause: Duration, timeout: Timeout) {
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
            let stream = self.host.connect(timeout).await?;
            let mut pipe = Connection::greet(stream, timeout).await?.pipe(input);
            while let Some(reply) = pipe.next().await? {
                self.record(ClientEvent::Reply(reply.to_string()));
            }
            Ok::<_, Error>(())
        };
        let converse = async { self.record_error(pipe.await) };
        tokio::join!(biased; converse, feed);
    }

    async fn ask_datagram(&self, name: &str, timeout: Timeout) -> bool {
        self.record(ClientEvent::SendsDatagrams);
        let command = Command::time_commands().find(|command| command.name() == name);
        let command = command.expect("scenarios have time commands only");
        let asking = async {
            let socket = self.host.bind_datagrams().await?;
            let here = self.host.address(&socket)?;
            ask_datagram(&Connected { socket, here }, command, millis(timeout.0)).await
        };
        let reply = asking.await;
        if let Ok(reply) = &reply {
            self.record(ClientEvent::Reply(reply.to_string()));
        }
        self.record_error(reply.map(drop))
    }

    async fn write(&self, acts: Vec<Act>, reading: Reading, ending: Ending) {
        let stream = match self.host.connect(PATIENCE).await {
            Ok(stream) => stream,
            Err(error) => {
                self.record_error(Err(error));
                return;
            }
        };
        let (mut reader, mut writer) = split(stream);
        let has_sent = Cell::new(false);
        let act = async {
            let acted = timeout(self.patience(), act(acts, &mut writer)).await;
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
            while timeout(self.patience(), read(&mut reader, &reading))
                .await
                .unwrap_or(!has_sent.get())
            {}
        };
        match ending {
            Ending::Await => {
                tokio::join!(biased; read, act);
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

    /// How long a client waits before it leaves: longer than the idle timeout of the server.
    fn patience(&self) -> Duration {
        millis(self.server.idle_timeout_ms) + PATIENCE
    }

    /// Sends a command and reads to EOF; returns whether the server served it.
    async fn write_and_read(&self, command: &str) -> bool {
        let exchange = async {
            let mut stream = self.host.connect(PATIENCE).await?;
            let mut bytes = Vec::new();
            // With framing `read`, one write is one command.
            stream.write_all(command.as_bytes()).await?;
            stream.read_to_end(&mut bytes).await?;
            match bytes.is_empty() || bytes.starts_with(b"The server is full") {
                true => Err(io::Error::other("not served")),
                false => Ok(()),
            }
        };
        let exchanged = timeout(self.patience(), exchange).await;
        self.record_error(exchanged.unwrap_or_else(|elapsed| Err(elapsed.into())))
    }

    async fn write_datagrams(
        &self,
        datagrams: Vec<Text>,
        source: Source,
        pause: Duration,
    ) -> io::Result<()> {
        self.record(ClientEvent::SendsDatagrams);
        let socket = self.host.bind_datagrams().await?;
        let (here, server) = (self.host.address(&socket)?, server_address());
        let from = match source {
            Source::Sender => here,
            Source::Server => server,
            Source::Nobody => SocketAddr::new(here.ip(), 2009),
            Source::Service => SocketAddr::new(here.ip(), 13),
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

async fn act(acts: Vec<Act>, writer: &mut WriteHalf<Stream>) -> io::Result<()> {
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

/// Sends digits as a stream; returns the reply.
async fn sum(connection: &mut Connection<Stream>, digits: &str) -> Result<Reply, Error> {
    match connection.sum(digits.as_bytes()).await {
        Ok(sum) => Ok(Reply::Sum(sum)),
        Err(Error::ErrorReply(reply)) => Ok(reply),
        Err(error) => Err(error),
    }
}

/// A client's socket that sends to the server and receives from it alone.
struct Connected {
    socket: DatagramSocket,
    here: SocketAddr,
}

impl chime_client::Datagrams for Connected {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket
            .send(datagram, self.here, server_address())
            .await
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let (bytes, from) = self.socket.receive().await?;
            if from == server_address() {
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                return Ok(length);
            }
        }
    }
}
