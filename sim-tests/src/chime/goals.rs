//! The coverage goals of chime.

use strum::VariantArray;

/// An event that must happen in some runs of a swarm, or the runs prove less than they seem to.
///
/// All of them are [`CoverageGoal::VARIANTS`](VariantArray::VARIANTS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
pub enum CoverageGoal {
    /// The server read a CR, and its LF with the next read.
    CrAndLfInDifferentReads,
    /// The server read several lines at once.
    LinesInOneRead,
    /// A client sent more after a request to quit.
    MoreAfterQuit,
    /// A last line without its end was answered when the client had stopped sending.
    LastLineWithoutEnd,
    /// A write of the server moved only some of the bytes.
    ShortWrite,
    /// The server had to wait for a client to read.
    ServerBlocked,
    /// A client that read slowly got everything.
    SlowReaderServed,
    /// A stream was made to fail.
    StreamFailed,
    /// A stream was reset because bytes were not read.
    Reset,
    /// A client was told that the server is full.
    Refused,
    /// The server could not accept connections for a while.
    AcceptFailed,
    /// An idle connection was closed.
    IdleClosed,
    /// A connection was closed because a line took too long.
    SlowLineClosed,
    /// A connection was closed because its client took no replies.
    SlowReaderClosed,
    /// The connection of a client that had gone without a word was closed.
    ForgottenClosed,
    /// A conversation was cut by the end of the server.
    Killed,
    /// A client connected anew after a failure, and was served.
    ServedAnew,
    /// An order to stop came in the middle of a line.
    StoppedInMidLine,
    /// Requests that had been sent before an order to stop were answered after it.
    AnsweredAfterStop,
    /// A conversation was cut when the drain timeout was over.
    DrainTimedOut,
    /// A conversation died of a partition.
    Partitioned,
    /// A conversation died although only one direction was cut.
    PartitionedOneWay,
    /// A conversation went on after its messages had been held.
    ServedAfterHold,
    /// Two replies of a conversation were given on different days.
    MidnightBetweenReplies,
    /// Two replies of a conversation were given in different years.
    NewYearBetweenReplies,
    /// A reply was given on 29 February.
    LeapDay,
    /// The clock was set back between two replies of a conversation.
    ClockSetBack,
    /// A datagram got lost.
    DatagramLost,
    /// A question over datagrams was answered at the second try or later.
    DatagramRetried,
    /// A request came twice.
    RequestDuplicated,
    /// A reply came twice.
    ReplyDuplicated,
    /// A datagram overtook another.
    DatagramOvertook,
    /// A changed request was ignored.
    CorruptedIgnored,
    /// The server received an empty datagram.
    EmptyDatagram,
    /// The server received a datagram that is longer than any request.
    HugeDatagram,
    /// The server answered a datagram that claimed to be from itself.
    SpoofedServer,
    /// The server ignored a request that claimed to be from a service.
    ServiceIgnored,
    /// A datagram found the queue of the server full.
    QueueOverflow,
    /// The server could not receive datagrams for a while.
    ReceiveFailed,
}
