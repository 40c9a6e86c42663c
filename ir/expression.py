"""Index expressions: how the output of a weight operation depends on its operands, one label an axis."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from .diagnostics import error
from .loc import calling_line

LABELS = string.ascii_lowercase + string.ascii_uppercase


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A sum of products, as in einsum: `operands` and `output` hold one label for each axis, no ellipsis, no repeats.

    `y[output] = sum over the labels not in output of the product of x_k[operands[k]]`.
    """

    operands: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        return f"{','.join(self.operands)}->{self.output}"

    @classmethod
    def parse(cls, text: str) -> Expression:
        """The expression that `str` printed as `text`."""
        left, _, output = text.partition("->")
        return cls(operands=tuple(left.split(",")), output=output)

    @classmethod
    def of(cls, text: str, ranks: Sequence[int]) -> Expression:
        """The expression that a user wrote, its ellipsis expanded for operands of these ranks.

        Raises EtirError where the text is not an einsum of that many operands, a rank does not fit its labels, or an
        operand repeats a label.
        """
        compact = text.replace(" ", "")
        left, arrow, output = compact.partition("->")
        operands = left.split(",")
        if not arrow or len(operands) != len(ranks):
            raise error(
                "expression-form",
                f"'{text}' does not describe {len(ranks)} operands and a result",
                loc=calling_line(),
                help="write one term for each operand and an explicit result, as in '...i,ij->...j'",
            )
        fresh = [label for label in LABELS if label not in compact]
        spare = "".join(fresh[: max(rank - _named(term) for term, rank in zip(operands, ranks, strict=True))])
        terms = tuple(_expand(term, rank, spare, text) for term, rank in zip(operands, ranks, strict=True))
        unknown = sorted(set(output.replace("...", "")) - set("".join(terms)))
        if unknown:
            raise error(
                "expression-form", f"'{text}' has '{unknown[0]}' in its result but in no operand", loc=calling_line()
            )
        return cls(operands=terms, output=output.replace("...", spare))

    @property
    def labels(self) -> str:
        """Every label once, the output's first."""
        return "".join(dict.fromkeys(self.output + "".join(self.operands)))

    def with_leading(self, label: str, mapped: Sequence[bool]) -> Expression:
        """The expression with one more leading axis on the output and on the operands that are `mapped`."""
        operands = tuple(label + term if on else term for term, on in zip(self.operands, mapped, strict=True))
        return Expression(operands=operands, output=label + self.output)

    def fresh_label(self) -> str:
        """A label that the expression does not use."""
        return next(label for label in LABELS[::-1] if label not in self.labels)


def _named(term: str) -> int:
    return len(term.replace("...", ""))


def _expand(term: str, rank: int, spare: str, text: str) -> str:
    missing = rank - _named(term)
    if missing < 0 or (missing > 0 and "..." not in term):
        raise error(
            "expression-form",
            f"'{term}' in '{text}' names {_named(term)} axes, but the operand has {rank}",
            loc=calling_line(),
        )
    labels = term.replace("...", spare[len(spare) - missing :] if missing else "")
    if len(set(labels)) != len(labels):
        raise error(
            "expression-form",
            f"'{term}' in '{text}' repeats a label; take the diagonal before the operation",
            loc=calling_line(),
        )
    return labels
