//! The kinds of requests, and their numbers.

use core::iter::zip;
use core::ops::{AddAssign, Index};

use super::Command;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// A command with a name.
    Command(Command),
    /// A string of digits.
    Digits,
    /// Any other request.
    Invalid,
}

impl RequestKind {
    /// Every kind: the commands in the order of [`Command::ALL`], then the others.
    pub const ALL: [RequestKind; KINDS] = {
        let mut all = [RequestKind::Invalid; KINDS];
        all[KINDS - 2] = RequestKind::Digits;
        let mut index = 0;
        while index < Command::ALL.len() {
            assert!(
                Command::ALL[index] as usize == index,
                "the order of the enum"
            );
            all[index] = RequestKind::Command(Command::ALL[index]);
            index += 1;
        }
        all
    };

    /// Returns the name of the command, `digits` or `invalid`.
    pub const fn name(self) -> &'static str {
        match self {
            RequestKind::Command(command) => command.name(),
            RequestKind::Digits => "digits",
            RequestKind::Invalid => "invalid",
        }
    }

    /// The position in [`RequestKind::ALL`].
    const fn index(self) -> usize {
        match self {
            RequestKind::Command(command) => command as usize,
            RequestKind::Digits => KINDS - 2,
            RequestKind::Invalid => KINDS - 1,
        }
    }
}

const KINDS: usize = Command::ALL.len() + 2;

/// The number of requests of each kind.
///
/// ```
/// use chime_protocol::{Command, RequestCounts, RequestKind};
///
/// let day = RequestKind::Command(Command::Day);
/// let counts = RequestCounts::from_iter([(RequestKind::Digits, 2), (day, 1)]);
/// assert_eq!(counts[RequestKind::Digits], 2);
/// assert_eq!(counts.total(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts([u64; KINDS]);

impl RequestCounts {
    /// Returns the number of requests of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns each kind with its number, in the order of [`RequestKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (RequestKind, u64)> {
        zip(RequestKind::ALL, self.0)
    }

    pub(crate) fn add(&mut self, kind: RequestKind) {
        self.0[kind.index()] += 1;
    }
}

impl Index<RequestKind> for RequestCounts {
    type Output = u64;

    fn index(&self, kind: RequestKind) -> &u64 {
        &self.0[kind.index()]
    }
}

/// Adds up the numbers of each kind.
impl FromIterator<(RequestKind, u64)> for RequestCounts {
    fn from_iter<I: IntoIterator<Item = (RequestKind, u64)>>(numbers: I) -> RequestCounts {
        let mut counts = RequestCounts::default();
        for (kind, number) in numbers {
            counts.0[kind.index()] += number;
        }
        counts
    }
}

impl AddAssign for RequestCounts {
    fn add_assign(&mut self, other: RequestCounts) {
        for (sum, number) in zip(&mut self.0, other.0) {
            *sum += number;
        }
    }
}
