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
    /// A client sent more requests after `quit`.
    MoreAfterQuit,
    /// A last line without a line end was answered after a half-close.
    LastLineWithoutEnd,
    /// A write of the server was short.
    ShortWrite,
    /// A write of the server was pending: backpressure.
    ServerBlocked,
    /// A slow reader got all replies.
    SlowReaderServed,
    /// A stream failed, as injected.
    StreamFailed,
    /// A connection was reset because bytes were unread.
    Reset,
    /// A client was refused: the server was full.
    Refused,
    /// An accept of the server failed because the connection was aborted.
    AcceptAborted,
    /// An accept of the server failed because no descriptor was free.
    AcceptFailed,
    /// A connection was closed at the idle timeout.
    IdleClosed,
    /// A connection was closed at the line timeout: a slow writer.
    SlowLineClosed,
    /// A connection was closed at the write timeout: a slow reader.
    SlowReaderClosed,
    /// The connection of a client that forgot it was closed.
    ForgottenClosed,
    /// A conversation was cut when the server was killed.
    Killed,
    /// A client connected again after a failure, and was served.
    ServedAnew,
    /// A graceful shutdown began while a line was incomplete.
    StoppedInMidLine,
    /// A request received before a graceful shutdown was answered after its beginning.
    AnsweredAfterStop,
    /// A conversation was cut at the drain timeout.
    DrainTimedOut,
    /// A conversation was cut by a partition.
    Partitioned,
    /// A conversation was cut by a partition of one direction.
    PartitionedOneWay,
    /// A conversation continued after a hold.
    ServedAfterHold,
    /// Two replies of a conversation have different days.
    MidnightBetweenReplies,
    /// Two replies of a conversation have different years.
    NewYearBetweenReplies,
    /// A reply was sent on 29 February.
    LeapDay,
    /// The clock was set back between two replies of a conversation.
    ClockSetBack,
    /// A datagram was lost.
    DatagramLost,
    /// A request by datagram was answered after a retry.
    DatagramRetried,
    /// A request was duplicated.
    RequestDuplicated,
    /// A reply was duplicated.
    ReplyDuplicated,
    /// Two datagrams were reordered.
    DatagramOvertook,
    /// A corrupted request was ignored.
    CorruptedIgnored,
    /// The server received an empty datagram.
    EmptyDatagram,
    /// The server received a datagram that is longer than any request.
    HugeDatagram,
    /// The server answered a datagram with its own address as the source.
    SpoofedServer,
    /// The server ignored a request with a source port below 1024.
    ServiceIgnored,
    /// A datagram was lost because the receive queue of the server was full.
    QueueOverflow,
    /// A receive of the server failed.
    ReceiveFailed,
    /// A reply to a datagram could not be sent.
    SendFailed,
    /// A request got no reply: over the rate limit of its network.
    DatagramLimited,
    /// An accept failed during a graceful shutdown because no descriptor was free.
    AcceptFailedAtStop,
    /// An accept failed during a graceful shutdown because the connection was aborted.
    AcceptAbortedAtStop,
    /// A deadline passed while the process was frozen, and what had arrived meanwhile was read.
    FrozenBeyondDeadline,
    /// A graceful shutdown of one worker began while 2,000 connections were busy.
    CrowdAtStop,
    /// A client was served with a PROXY header of version 1.
    ProxiedByV1,
    /// A client was served with a PROXY header of version 2.
    ProxiedByV2,
    /// A client was served with a PROXY header without its address.
    ProxiedWithoutAddress,
    /// A client was served with a PROXY header that arrived with more than two reads.
    HeaderInPieces,
    /// The server read a PROXY header and the first request at once.
    RequestWithHeader,
    /// A connection was closed because of an invalid PROXY header.
    HeaderInvalid,
    /// A connection was closed because its PROXY header was late.
    HeaderTimedOut,
    /// A connection was closed because its PROXY header was incomplete at a graceful shutdown.
    HeaderAtStop,
    /// A connection was closed because it did not come from a trusted proxy.
    ProxyUntrusted,
    /// A connection was closed because its network is not served.
    NetworkDenied,
    /// A listener saw the IPv4-mapped address of a client that was served by a rule.
    MappedServed,
    /// An accepted connection had to wait for a permit to be served or refused.
    PermitAwaited,
    /// A client was refused: its address was at its limit.
    AddressRefused,
    /// An address that had been at its limit was served again.
    AddressServedAgain,
    /// A client was served at the second listener.
    SecondListener,
    /// A server with several workers served two clients at a time.
    SeveralWorkers,
    /// The server received as many datagrams at once as it receives at most.
    FullBatch,
    /// One of several replies that were sent at once could not be sent.
    BatchWithOneFailure,
    /// A request to another address of the server was answered from it.
    SecondaryAnswered,
    /// A request to a broadcast or multicast address was ignored.
    BroadcastIgnored,
    /// A request from a network that is not served was ignored.
    DatagramDenied,
    /// One in four requests over the rate limit was answered.
    LimitedAnswered,
    /// The connect of the client library timed out.
    LibraryConnectTimedOut,
    /// The client library timed out before the welcome.
    LibraryGreetingTimedOut,
    /// The client library timed out after the welcome.
    LibraryReplyTimedOut,
    /// The client library sent a request by datagram again, and timed out.
    LibraryDatagramTimedOut,
    /// A pipe of the client library half-closed, and then received the rest of its replies.
    PipeServedAfterHalfClose,
    /// A client closed late after the server had half-closed, but within the linger timeout.
    ClosedLate,
    /// A client was not waited for any longer: it had not closed at the linger timeout.
    ClosedAfterLinger,
    /// A line that took longer than the line timeout was answered: its bytes came fast enough.
    SlowWriterServed,
    /// A connection was closed at the line timeout while bytes kept arriving.
    SlowWriterClosed,
    /// A client that sent nothing was accepted during a graceful shutdown.
    SilentAcceptedAtStop,
    /// A graceful shutdown began while two slow readers had not read their replies.
    SlowReadersAtStop,
    /// A graceful shutdown began while the bytes of several reads waited at one connection.
    ReadsWaitingAtStop,
}
