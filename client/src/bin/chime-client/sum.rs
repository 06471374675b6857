//! The command `chime-client sum` for digits of a file or of standard input: as many as there are, in
//! constant memory.

mod digits;
mod progress;
mod source;

use std::io;

use chime_client::Error;
use chime_protocol::Reply;

use crate::failure::Failure;
use crate::form::Form;
use crate::network::Network;

use digits::Digits;

pub(crate) use source::{Fault, Source};

/// Sends the digits of `source` as one line, prints their sum and returns the exit code.
pub(crate) async fn run(source: &Source, form: Form, network: &Network) -> Result<u8, Failure> {
    let failure = |fault| Failure::Source(source.clone(), fault);
    // A server waits neither for a connection that says nothing nor for a line that stands still, so
    // there is something to send before either begins.
    let digits = Digits::open(source).await.map_err(failure)?;
    let mut pipe = crate::greet(network).await?.pipe(digits);
    let answer = async move {
        // The progress bar goes away with the pipe, before anything is written.
        pipe.next().await
    };
    let answer = network.timed("answered", answer).await;
    let reply = match answer {
        Ok(Some(reply @ (Reply::Sum(_) | Reply::CommandError | Reply::DigitError))) => reply,
        Ok(Some(reply)) => return Err(Error::Unexpected(reply).into()),
        Ok(None) | Err(Error::Closed) => return Err(Failure::LineCut),
        Err(Error::Input(error)) => return Err(failure(Fault::from(error))),
        Err(error) => return Err(error.into()),
    };
    form.write(&mut io::stdout(), None, Some(reply))
}
