"""What operations cost: floating-point work, and bytes of traces moved and held."""

from __future__ import annotations

from dataclasses import dataclass, replace


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
    seconds: float = 0.0
    """Predicted seconds, the model's own step and its reverse mode included; zero where nobody asked for them."""
    because: str = ""
    """Why the plan has its window, where that was chosen."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            flops=self.flops + other.flops,
            read=self.read + other.read,
            written=self.written + other.written,
            held=self.held + other.held,
            exchanged=self.exchanged + other.exchanged,
            seconds=self.seconds + other.seconds,
            because=self.because or other.because,
        )

    def over(self, steps: int) -> Cost:
        """The cost of something that happens once in this many steps; what is held stays."""
        return replace(
            self,
            flops=self.flops / steps,
            read=self.read / steps,
            written=self.written / steps,
            exchanged=self.exchanged / steps,
            seconds=self.seconds / steps,
        )

    def __str__(self) -> str:
        units = [
            ("flops", self.flops, ""),
            ("read", self.read, "B"),
            ("written", self.written, "B"),
            ("held", self.held, "B"),
            *([("exchanged", self.exchanged, "B")] if self.exchanged else []),
        ]
        parts = [f"{name} {_human(value, unit)}" for name, value, unit in units]
        parts += [f"predicted {human_seconds(self.seconds)}"] if self.seconds else []
        return "; ".join([", ".join(parts), *([self.because] if self.because else [])])


def human_bytes(size: float) -> str:
    """A number of bytes for people: `9.9 TB`."""
    return _human(size, "B")


def human_seconds(time: float) -> str:
    """Seconds for people: `0.41 ms` is `410 us`."""
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)) if time >= 0.9995 * s), ("ns", 1e-9))
    value = time / size
    return f"{round(value) if value >= 100 else f'{value:.3g}'} {unit}"


def human_number(value: float) -> str:
    """A number for people: `9.9 T`."""
    return _human(value, "")


def _human(value: float, unit: str) -> str:
    prefixes = ["", "k", "M", "G", "T"]
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value /= 1000
        del prefixes[0]
    return f"{round(value) if value >= 100 else f'{value:.3g}'} {prefixes[0]}{unit}".rstrip()
