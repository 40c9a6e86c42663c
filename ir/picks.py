"""What a fixed index picks the data of a site of, for plans that hold that in the data's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .values import Value

if TYPE_CHECKING:
    from .transition import Region


class Pick(NamedTuple):
    """What one site's data are picked of, and how."""

    array: Value
    region: Region
    """`array -> data`."""
    labels: str
    """Of the array's axes, as the site's data have them; for that picked along one that these lack."""
