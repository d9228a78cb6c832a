"""Entries of made-up trades."""

from executor.journal.journal import Entry, Note
from executor.states import State


def accepted(request_id: str, body: str = "{}", *, at_unix_ns: int = 1) -> Entry:
    """The first entry of a request."""
    return Entry(request_id=request_id, state=State.ACCEPTED, at_unix_ns=at_unix_ns, body=body)


def signed(request_id: str, signature: str) -> Entry:
    """The entry that must be durable before the first byte leaves."""
    return Entry(request_id=request_id, state=State.SIGNED, at_unix_ns=2, body="{}", signature=signature)


def step(request_id: str, state: State, number: int = 3) -> Entry:
    """Any other entry."""
    return Entry(request_id=request_id, state=state, at_unix_ns=number, body=f'{{"n":{number}}}')


def life(request_id: str, last: State) -> list[Entry]:
    """A trade as it came to this state; every signature is another one."""
    entries = [accepted(request_id), signed(request_id, f"of {request_id}"), step(request_id, State.SENT), step(request_id, last)]
    return {
        State.ACCEPTED: entries[:1],
        State.SIGNED: entries[:2],
        State.SENT: entries[:3],
        State.DENIED: [entries[0], entries[-1]],
    }.get(last, entries)


def note(number: int, kind: str = "breaker") -> Note:
    """Something that is no step of a trade."""
    return Note(kind=kind, at_unix_ns=number, body=f'{{"n":{number}}}')
