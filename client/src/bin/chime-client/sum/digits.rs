//! Digits on their way from their source to the conversation.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::progress::Progress;
use super::source::{Blocks, Fault, Source};

/// The most blocks that are read ahead: without any, the disk and the network would wait in turns.
const BLOCKS_AHEAD_MAX: usize = 4;

/// The digits of a source, and the line end that they lack.
///
/// A thread reads them. It ends with the program, or when it has a block that nobody takes.
#[derive(Debug)]
pub(crate) struct Digits {
    blocks: Receiver<Result<Vec<u8>, Fault>>,
    block: Vec<u8>,
    /// How many bytes of the block have been taken.
    taken: usize,
    is_ended: bool,
    progress: Progress,
}

impl Digits {
    /// Opens the source and waits for a full block, or all that there is.
    pub(crate) async fn open(source: &Source) -> Result<Digits, Fault> {
        let (input, length) = source.open().map_err(Fault::Read)?;
        let (sender, mut blocks) = mpsc::channel(BLOCKS_AHEAD_MAX);
        thread::Builder::new()
            .spawn(move || send(Blocks::new(input), &sender))
            .map_err(Fault::Read)?;
        let block = blocks.recv().await.unwrap_or_else(|| Err(lost()))?;
        Ok(Digits {
            blocks,
            block,
            taken: 0,
            is_ended: false,
            progress: Progress::new(length),
        })
    }
}

impl AsyncRead for Digits {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.block.len() && !this.is_ended {
            let next = ready!(this.blocks.poll_recv(cx)).unwrap_or_else(|| Err(lost()));
            this.block = next?;
            this.taken = 0;
            if this.block.is_empty() {
                this.is_ended = true;
                this.block.push(b'\n');
            }
        }
        let rest = &this.block[this.taken..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        this.taken += length;
        this.progress.tell(length);
        Poll::Ready(Ok(()))
    }
}

/// Sends every block, the empty one at the end too, until there are no more or nobody takes them.
fn send<R: io::Read>(mut blocks: Blocks<R>, sender: &Sender<Result<Vec<u8>, Fault>>) {
    loop {
        let block = blocks.next();
        let is_last = block.as_ref().map_or(true, Vec::is_empty);
        if sender.blocking_send(block).is_err() || is_last {
            return;
        }
    }
}

/// The fault of digits that stop without an end: it must not be taken for one.
fn lost() -> Fault {
    Fault::Read(io::Error::other("the thread that reads it has ended"))
}
