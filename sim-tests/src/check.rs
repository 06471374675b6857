//! What must hold of a trace.

use std::fmt;

/// What is wrong in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What, in words.
    pub what: String,
    /// The event by which it shows: an index into [`Trace::events`](crate::trace::Trace::events).
    pub event: usize,
    /// How many bytes of that event are right, if it is about bytes.
    pub right_bytes: Option<usize>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
