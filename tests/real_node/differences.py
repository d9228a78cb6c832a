"""Where the localnet answers otherwise than Agave 3.1.8, and why it may. Each entry must occur, or it has to go."""

from fnmatch import fnmatchcase

from attrs import frozen


@frozen
class Accepted:
    """Differences that may be: by question and by place in the answer, both with `*`."""

    question: str
    place: str
    reason: str

    def covers(self, question: str, place: str) -> bool:
        """Tell whether it is one of these."""
        return fnmatchcase(question, self.question) and fnmatchcase(place, self.place)


ACCEPTED: tuple[Accepted, ...] = ()
