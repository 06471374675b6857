//! In-memory servers.

use chime_protocol::{Framing, Service, Session, Status};
use chrono::{NaiveDate, NaiveDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The fixed time of the servers, a Saturday.
pub(crate) fn now() -> NaiveDateTime {
    let date = NaiveDate::from_ymd_opt(2026, 11, 21).expect("a date");
    date.and_hms_micro_opt(6, 32, 6, 123_456).expect("a time")
}

/// Serves one connection with the real protocol, then closes it.
///
/// It reads nothing while a write is pending, so a client that does not read its replies is not served further.
pub(crate) async fn serve(mut stream: DuplexStream, service: Service, framing: Framing) {
    let mut session = Session::new(service, framing);
    let (mut input, mut output) = ([0; 4096], [0; 64]);
    let mut unread = 0..0;
    let mut is_ended = false;
    loop {
        let progress = match is_ended {
            false => session.advance(&input[unread.clone()], &mut output, now()),
            true => session.finish(&mut output, now()),
        };
        unread.start += progress.read;
        if stream.write_all(&output[..progress.written]).await.is_err() {
            return;
        }
        match progress.status {
            Status::OutputFull => {}
            Status::Closed => return,
            Status::NeedInput => {
                let length = stream.read(&mut input).await.unwrap_or(0);
                unread = 0..length;
                is_ended = length == 0;
            }
        }
    }
}

/// Sends `greeting` at once, and `reply` for each line, until EOF.
pub(crate) async fn repeat(mut stream: DuplexStream, greeting: &'static str, reply: &'static str) {
    if stream.write_all(greeting.as_bytes()).await.is_err() {
        return;
    }
    while let Ok(byte) = stream.read_u8().await {
        if byte == b'\n' && stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}
