"""ETP operations inside constructs that keep their bodies: loops, branches, custom derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...ir import jaxpr as jx


def enclosed_sites(eqn: Any) -> Iterator[Any]:
    """The ETP operations in an equation's bodies, where passes do not look for sites."""
    for body in jx.sub_jaxprs(eqn):
        for inner in jx.equations(body):
            if inner.primitive.name in ("etp", "etp_call"):
                yield inner
            yield from enclosed_sites(inner)
