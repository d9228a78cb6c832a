"""A gate before h2: walk over a peer's HTTP/2 frames without decoding them, and count what they cost us.

h2 answers every frame that is legal, however many come: pings, settings, resets, empty frames, header blocks without end. Each
costs 10 to 150 us here and next to nothing there. So every frame takes from a credit, which time and answered calls refill. A
caller that works earns more than it uses; one that only makes work for us is cut off.

The gate also cuts what was received into turns that cost little, after each of which other connections run, and tells who has
earned to be read at once: the others are read in a lane that they share (`lane.py`).
"""

from collections.abc import Iterator

from attrs import define, field

from executor.rpc.limits import ServerLimits

PREFACE_BYTES = 24
FRAME_HEADER_BYTES = 9
MAX_FRAME_BYTES = 16_384  # the smallest that RFC 9113 permits a server to accept, and what it assumes by default
FRAMES_PER_TURN = 4  # or what costs as much: one or two calls. A call of another peer waits for several turns in a row

# RFC 9113, sections 6 and 7
DATA, HEADERS, SETTINGS, CONTINUATION = 0, 1, 4, 9
END_HEADERS = 0x4
FRAME_SIZE_ERROR, ENHANCE_YOUR_CALM = 0x6, 0xB

# What a frame costs beyond 1, by its kind: a frame for so many bytes. Decoding headers takes some 0.5 us a byte, and every
# single setting is worked on.
_BYTES_PER_FRAME = {HEADERS: 128, CONTINUATION: 128, SETTINGS: 6}

# Who asks for nothing is found out sooner: before its first answer a client has little to say but calls.
_FACTOR_BEFORE_ANSWER = 4


class AbusiveConnection(Exception):
    """The peer went over a limit; `code` is the HTTP/2 error that tells it so."""

    def __init__(self, problem: str, code: int = ENHANCE_YOUR_CALM) -> None:
        super().__init__(problem)
        self.code = code


@define
class FrameGate:
    """The gate of one connection."""

    limits: ServerLimits
    _refilled_at: float = field(alias="now")
    _credit: float = field(init=False)
    greeted: bool = field(init=False, default=False)
    """The peer has sent its settings, with which every HTTP/2 client begins."""
    proven: bool = field(init=False, default=False)
    """The peer has had an answer that a handler gave."""
    _bytes_to_skip: int = field(init=False, default=PREFACE_BYTES)
    _frame_header: bytearray = field(init=False, factory=bytearray)
    _block_bytes: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._credit = self.limits.frame_burst

    def earn(self, frames: int) -> None:
        """Add to the credit of a peer that had an answer."""
        self.proven = True
        self._credit = min(self._credit + frames, self.limits.frame_burst)

    @property
    def trusted(self) -> bool:
        """The peer has had an answer, and has not used much more than it earned."""
        return self.proven and self._credit >= self.limits.frame_burst - self.limits.frames_on_trust

    def turns(self, data: bytes, *, now: float) -> Iterator[bytes]:
        """Yield the data again in pieces that cost a few frames each; raise AbusiveConnection at a limit."""
        self._refill(now)
        begin = at = frames = 0
        while at < len(data):
            at += self._skip(len(data) - at) or self._read_header(data[at : at + FRAME_HEADER_BYTES])
            if len(self._frame_header) == FRAME_HEADER_BYTES:
                frames += self._admit_frame()
            if frames >= FRAMES_PER_TURN and not self._bytes_to_skip:  # a call and its reset are not torn apart
                yield data[begin:at]
                begin, frames = at, 0
        if begin < len(data):
            yield data[begin:]

    def _refill(self, now: float) -> None:
        self._credit = min(
            self._credit + (now - self._refilled_at) * self.limits.frames_per_second, float(self.limits.frame_burst)
        )
        self._refilled_at = now

    def _skip(self, available: int) -> int:
        step = min(self._bytes_to_skip, available)
        self._bytes_to_skip -= step
        return step

    def _read_header(self, data: bytes) -> int:
        step = min(FRAME_HEADER_BYTES - len(self._frame_header), len(data))
        self._frame_header += data[:step]
        return step

    def _admit_frame(self) -> int:
        """Let a frame pass; return what it costs."""
        length, kind, flags = int.from_bytes(self._frame_header[:3]), self._frame_header[3], self._frame_header[4]
        self._frame_header.clear()
        self._bytes_to_skip = length
        if length > MAX_FRAME_BYTES:
            # h2 3.2 looks at the length only after it has buffered the whole frame, up to 16 MiB.
            raise AbusiveConnection("a frame is larger than announced", FRAME_SIZE_ERROR)
        cost = 1 + length // _BYTES_PER_FRAME.get(kind, MAX_FRAME_BYTES + 1)
        if not self.proven and kind not in (DATA, HEADERS):
            cost *= _FACTOR_BEFORE_ANSWER
        self._charge(cost)
        self.greeted = self.greeted or kind == SETTINGS
        if kind in (HEADERS, CONTINUATION):
            self._count_block(length, ended=bool(flags & END_HEADERS))
        return cost

    def _charge(self, frames: int) -> None:
        self._credit -= frames
        if self._credit < 0:
            raise AbusiveConnection("too many frames")

    def _count_block(self, length: int, *, ended: bool) -> None:
        self._block_bytes += length
        if self._block_bytes > self.limits.header_block_bytes:
            raise AbusiveConnection("a header block is too large")
        if ended:
            self._block_bytes = 0
