"""A log that keeps what it is told, for tests that look at events and fields."""

from attrs import define, field, frozen


@frozen
class Event:
    """One call of a log."""

    level: str
    name: str
    fields: dict[str, object]


@define
class RecordedLog:
    """Keeps events in order; what was bound stands among the fields."""

    events: list[Event] = field(factory=list)
    _bound: dict[str, object] = field(factory=dict)

    def debug(self, event: str, /, **fields: object) -> None:
        self._keep("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._keep("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._keep("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._keep("error", event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        self._keep("error", event, fields)

    def bind(self, **fields: object) -> "RecordedLog":
        """Return a log that keeps its events here as well."""
        return RecordedLog(self.events, {**self._bound, **fields})

    def named(self, name: str) -> list[dict[str, object]]:
        """The fields of every event of that name."""
        return [event.fields for event in self.events if event.name == name]

    def _keep(self, level: str, event: str, fields: dict[str, object]) -> None:
        self.events.append(Event(level, event, {**self._bound, **fields}))
