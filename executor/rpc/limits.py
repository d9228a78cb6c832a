"""What one caller, or all of them together, may use up of the daemon."""

from attrs import frozen

KIB = 1024


@frozen(kw_only=True)
class ServerLimits:
    """The bounds of the gRPC server. Beyond them a call is refused, or a connection cut; nothing is buffered."""

    connections: int = 256
    """One too many takes the place of one that was never answered and asks for nothing; otherwise it is closed."""
    calls_in_flight: int = 1024
    """In all connections together."""
    streams_per_connection: int = 256
    """Advertised; a call beyond it is refused in a way that clients repeat by themselves."""

    request_bytes: int = 64 * KIB
    """The largest request message; the largest real one has some 500 bytes."""
    reply_bytes: int = 4096 * KIB
    """The largest reply message: what stock clients accept by default."""
    header_list_bytes: int = 16 * KIB
    """The metadata of a call, as HTTP/2 counts it. More fails the call."""
    header_block_bytes: int = 80 * KIB
    """The metadata of a call as it arrives. More fails the connection: the rest cannot be decoded without it."""
    unread_bytes_per_connection: int = 512 * KIB
    """What a peer may send of message bodies before they were read; the HTTP/2 window of the connection."""
    unsent_bytes_per_connection: int = 256 * KIB
    """What waits for a peer that reads slowly. While there is more, its streams wait and nothing is read from it."""

    frame_burst: int = 2_000
    """HTTP/2 frames that a peer may send at once. The rates below refill it; who uses it up is cut off."""
    frames_on_trust: int = 500
    """How many of them a peer that was answered before is read at once. Beyond, it waits in the lane with all who were not."""
    frames_per_second: int = 200
    frames_per_answer: int = 16
    frames_per_message: int = 4

    lane_share: float = 0.05
    """Of the processor, for all peers together that have earned nothing (`lane.py`)."""
    door_share: float = 0.1
    """Of the processor, for opening connections."""

    preface_seconds: float = 5.0
    """From the connection's begin to the client's first settings, including the TLS handshake."""
    body_seconds: float = 10.0
    """From a call's metadata to the end of its only request message."""
    call_seconds: float = 3600.0
    """The longest that any call may take, whatever deadline it brings."""
    send_seconds: float = 20.0
    """How long a peer may leave unread what it is sent."""
    idle_seconds: float = 600.0
    """How long a connection without calls may stay silent."""
    part_seconds: float = 1.0
    """How long a connection that the server ends may take to read the rest."""
    settle_seconds: float = 0.2
    """From the first notice of a drain to the refusal of new calls: more than a round trip, so that no call is in doubt."""
