//! The service over UDP.

use chrono::NaiveDateTime;

use crate::reply::LINE_MAX;
use crate::request::Command;

/// The maximum length of the reply of [`answer_datagram`], in bytes. No request is longer.
pub const DATAGRAM_MAX: usize = 32;

/// Writes the reply to one datagram to `buffer` and returns it, or `None` if the datagram gets no reply.
///
/// A request is `send time`, `day`, `date` or `time` in any letter case, then LF, CRLF or nothing. Anything
/// else gets no reply, and no reply is itself a request, so two servers that are tricked into talking to each
/// other stop after one datagram. A reply is at most three times as long as its request.
///
/// ```
/// use chime_protocol::{DATAGRAM_MAX, answer_datagram};
///
/// let now = chrono::NaiveDate::from_ymd_opt(2026, 11, 21).unwrap().and_hms_opt(6, 32, 6).unwrap();
/// let mut buffer = [0; DATAGRAM_MAX];
/// assert_eq!(answer_datagram(b"time\n", now, &mut buffer), Some(&b"06:32:06\n"[..]));
/// assert_eq!(answer_datagram(b"06:32:06\n", now, &mut buffer), None);
/// ```
pub fn answer_datagram<'a>(
    request: &[u8],
    now: NaiveDateTime,
    buffer: &'a mut [u8; DATAGRAM_MAX],
) -> Option<&'a [u8]> {
    let (text, has_line_end) = match request {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => (text, true),
        text => (text, false),
    };
    let command = Command::parse(text).filter(|command| command.is_time_command())?;
    let reply = command.reply(now);
    let mut line = [0; LINE_MAX];
    let length = reply.write_line(&mut line);
    let reply = &line[..if has_line_end { length } else { length - 1 }];
    let buffer = &mut buffer[..reply.len()];
    buffer.copy_from_slice(reply);
    Some(buffer)
}
