"""What operations cost: floating-point work, and bytes of traces moved and held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """An estimate, for one run of an operation or for one step of a plan."""

    flops: float = 0.0
    """Floating-point operations."""
    read: float = 0.0
    """Bytes of traces read."""
    written: float = 0.0
    """Bytes of traces written."""
    held: float = 0.0
    """Bytes of traces held between steps."""
    exchanged: float = 0.0
    """Bytes that other devices send, of a learner that lies over several: what collectives leave on one of them."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            flops=self.flops + other.flops,
            read=self.read + other.read,
            written=self.written + other.written,
            held=self.held + other.held,
            exchanged=self.exchanged + other.exchanged,
        )

    def over(self, steps: int) -> Cost:
        """The cost of something that happens once in this many steps; what is held stays."""
        return Cost(
            flops=self.flops / steps,
            read=self.read / steps,
            written=self.written / steps,
            held=self.held,
            exchanged=self.exchanged / steps,
        )

    def __str__(self) -> str:
        units = [
            ("flops", self.flops, ""),
            ("read", self.read, "B"),
            ("written", self.written, "B"),
            ("held", self.held, "B"),
            *([("exchanged", self.exchanged, "B")] if self.exchanged else []),
        ]
        return ", ".join(f"{name} {_human(value, unit)}" for name, value, unit in units)


def human_bytes(size: float) -> str:
    """A number of bytes for people: `9.9 TB`."""
    return _human(size, "B")


def _human(value: float, unit: str) -> str:
    prefixes = ["", "k", "M", "G", "T"]
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value /= 1000
        del prefixes[0]
    return f"{round(value) if value >= 100 else f'{value:.3g}'} {prefixes[0]}{unit}".rstrip()
