//! A differential check of [`converse`] over a scripted stream, for property tests, fuzz targets and the
//! replay of seeds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use arbitrary::{Arbitrary, Unstructured};
use chime_model::{Script, Step, naive};
use chime_protocol::{Framing, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use chime_server::{Counter, Counters, Options, WorkerContext, converse};

/// A conversation over a scripted stream: what the client sends, and how the stream reacts to each poll.
///
/// Its text form is a [`Script`] with one more kind of line, `stream`, which lists the reactions in order.
/// After the last one, and without such a line, each poll reads or writes as much as it can:
///
/// ```text
/// stream pending 1 5 error
/// > day\r\n
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamScript {
    /// What the client sends. Its clock and its output buffer lengths are ignored.
    pub script: Script,
    /// The reaction of the stream to each poll.
    pub polls: Vec<StreamPoll>,
}

/// The reaction of a stream to a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPoll {
    /// Is pending once, and wakes the task.
    Pending,
    /// Reads or writes at most this many bytes, at least one.
    AtMost(usize),
    /// Fails, as does every later poll.
    Error,
}

impl StreamScript {
    /// Parses a script. Like [`Script::parse`], it accepts any bytes.
    pub fn parse(text: &[u8]) -> StreamScript {
        let is_polls = |line: &&[u8]| line.starts_with(PREFIX);
        let lines = text.split(|byte| *byte == b'\n');
        let (polls, others): (Vec<_>, Vec<_>) = lines.partition(is_polls);
        let words = polls
            .into_iter()
            .flat_map(|line| line[PREFIX.len()..].split(|byte| *byte == b' '));
        StreamScript {
            script: Script::parse(&others.join(&b'\n')),
            polls: words.filter_map(StreamPoll::parse).collect(),
        }
    }
}

const PREFIX: &[u8] = b"stream ";

impl fmt::Display for StreamScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.polls.is_empty() {
            f.write_str("stream")?;
        }
        for poll in &self.polls {
            match poll {
                StreamPoll::Pending => f.write_str(" pending")?,
                StreamPoll::AtMost(length) => write!(f, " {length}")?,
                StreamPoll::Error => f.write_str(" error")?,
            }
        }
        write!(f, "\n{}", self.script)
    }
}

impl<'a> Arbitrary<'a> for StreamScript {
    /// Parses the fuzzer's bytes as text, like [`Script`].
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<StreamScript> {
        input.bytes(input.len()).map(StreamScript::parse)
    }
}

impl StreamPoll {
    fn parse(word: &[u8]) -> Option<StreamPoll> {
        match str::from_utf8(word).ok()? {
            "pending" => Some(StreamPoll::Pending),
            "error" => Some(StreamPoll::Error),
            number => Some(StreamPoll::AtMost(
                number.parse().ok().filter(|length| *length > 0)?,
            )),
        }
    }
}

/// Checks that a conversation over the stream sends what the model sends, then shuts the stream down. It may
/// fail only if the stream does, having sent a prefix of the expected bytes.
///
/// # Panics
///
/// If the two differ.
pub fn check_converse(script: &StreamScript) {
    check_converse_against(naive::answer, script);
}

/// [`check_converse`] against another model, such as a canary.
pub fn check_converse_against(model: naive::Answer, script: &StreamScript) {
    let Script {
        service, framing, ..
    } = script.script;
    let mut expected = naive::Conversation::new(model, service, framing);
    let mut reads = VecDeque::new();
    for step in &script.script.steps {
        if let Step::Read(bytes) = step {
            expected.read(bytes, Script::clock_at_start());
            reads.push_back(bytes.clone());
        }
    }
    expected.end(Script::clock_at_start());

    let record = Rc::default();
    let stream = ScriptedStream {
        framing,
        reads,
        polls: script.polls.iter().copied().collect(),
        record: Rc::clone(&record),
    };
    let options = Options::new(Script::clock_at_start, NonZero::<u32>::MIN);
    let counters = Counters::default();
    let reader = counters.reader();
    let context = Rc::new(WorkerContext::new(
        options,
        counters,
        CancellationToken::new(),
    ));
    let session = Session::new(service, framing);
    let result = run(converse(stream, session, context))
        .unwrap_or_else(|| panic!("the conversation stalls in this script:\n\n{script}"));

    let record = record.borrow();
    let snapshot = reader.snapshot();
    let check = |holds: bool, failure: &str| {
        assert!(
            holds,
            "{failure}: {result:?}, {record:?}, in this script:\n\n{script}\nexpected: {}\ngot:      {}\n",
            expected.sent.escape_ascii(),
            record.sent.escape_ascii(),
        );
    };
    let bytes_sent = record.sent.len() as u64;
    check(
        snapshot[Counter::ByteSent] == bytes_sent,
        "wrong count of bytes",
    );
    if record.has_failed {
        check(result.is_err(), "the stream's error is lost");
        check(expected.sent.starts_with(&record.sent), "wrong output");
    } else {
        check(result.is_ok(), "unexpected error");
        check(expected.sent == record.sent, "wrong output");
        check(record.is_shut_down, "the stream is not shut down");
        let requests = snapshot.requests.total();
        check(requests == expected.requests, "wrong count of requests");
    }
}

/// Polls a future as long as it is woken. Returns `None` if it stalls: pending without a wake.
fn run<T>(future: impl Future<Output = T>) -> Option<T> {
    struct WakeFlag(AtomicBool);

    impl Wake for WakeFlag {
        fn wake(self: Arc<WakeFlag>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without an I/O driver starts");
    }

    RUNTIME.with(|runtime| {
        let _context = runtime.enter();
        let flag = Arc::new(WakeFlag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut future = pin!(future);
        while flag.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(value);
            }
        }
        None
    })
}

/// A stream that follows a script.
struct ScriptedStream {
    framing: Framing,
    reads: VecDeque<Vec<u8>>,
    polls: VecDeque<StreamPoll>,
    record: Rc<RefCell<Record>>,
}

/// The bytes that a stream has received, and how it ended.
#[derive(Debug, Default)]
struct Record {
    sent: Vec<u8>,
    is_shut_down: bool,
    has_failed: bool,
}

impl ScriptedStream {
    /// Returns how many bytes this poll may read or write.
    fn poll_length(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.record.borrow().has_failed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match self.polls.pop_front() {
            None => Poll::Ready(Ok(usize::MAX)),
            Some(StreamPoll::AtMost(length)) => Poll::Ready(Ok(length)),
            Some(StreamPoll::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(StreamPoll::Error) => {
                self.record.borrow_mut().has_failed = true;
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl AsyncRead for ScriptedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = ready!(self.poll_length(cx))?;
        let Some(mut bytes) = self.reads.pop_front() else {
            return Poll::Ready(Ok(()));
        };
        // With framing `read`, each read is a command, so it must not be split.
        let length = match self.framing {
            Framing::Line => length.min(bytes.len()).min(buffer.remaining()),
            Framing::Read => bytes.len().min(buffer.remaining()),
        };
        let rest = bytes.split_off(length);
        if !rest.is_empty() {
            self.reads.push_front(rest);
        }
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ScriptedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(self.poll_length(cx))?.min(bytes.len());
        let mut record = self.record.borrow_mut();
        assert!(!record.is_shut_down, "a write after the shutdown");
        record.sent.extend(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_length(cx).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_length(cx))?;
        self.record.borrow_mut().is_shut_down = true;
        Poll::Ready(Ok(()))
    }
}
