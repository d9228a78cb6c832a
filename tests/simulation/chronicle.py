"""The ordered log of everything in a history that can be observed, and its hash: one seed gives one hash, byte for byte."""

import hashlib
from collections import Counter

import trio
from attrs import define, field


@define(kw_only=True, eq=False)
class Chronicle:
    """Hashes every line as it comes; keeps the lines as well when somebody wants to read them."""

    keep: bool = False
    lines: list[str] = field(factory=list)
    faults: Counter[str] = field(factory=Counter)
    """By kind."""
    crashes: int = 0
    _hash: "hashlib.blake2b" = field(factory=lambda: hashlib.blake2b(digest_size=16))

    def note(self, *words: object) -> None:
        """Write down what happened now."""
        line = f"{trio.current_time():.6f} {' '.join(map(str, words))}\n"
        self._hash.update(line.encode())
        if self.keep:
            self.lines.append(line)

    def fault(self, kind: str, *words: object) -> None:
        """Write down what went wrong, by our will."""
        self.faults[kind] += 1
        self.note("fault", kind, *words)

    def digest(self) -> str:
        """The hash of all lines so far."""
        return self._hash.hexdigest()
