"""Which column each block of a picture stands in, and in which order: a layered layout after Sugiyama et al. (1981)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from .picture import Picture

Item: TypeAlias = tuple[str, int]
"""A block and its layer; a block that an arrow passes on its way is an item there too, named by the arrow's end."""

Neighbour: TypeAlias = tuple[Item, float]
"""An item of the layer before or after, and how far down in it the arrow ends, from 0 to 1."""

_SWEEPS = 10


def layer_of_boxes(picture: Picture) -> dict[str, int]:
    """The layer of each box, the boxes of one frame sharing theirs."""
    owner = {box.key: frame.key for frame in picture.frames for box in frame.boxes}
    owner = {box.key: owner.get(box.key, box.key) for box in picture.every_box}
    pairs = [(owner[a.source], owner[a.target], a.past) for a in picture.arrows if owner[a.source] != owner[a.target]]
    now = [(source, target) for source, target, past in pairs if not past]
    layer = layer_of_blocks(list(dict.fromkeys(owner.values())), now)
    tied = {block for pair in now for block in pair}
    _pull_along(layer, [block for block in layer if block not in tied], [(s, t) for s, t, _ in pairs])
    return {box: layer[block] for box, block in owner.items()}


def layer_of_blocks(blocks: Sequence[str], arrows: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The layer of each block: one more than the highest of those before it; blocks on a cycle share one.

    A block that nothing leads to stands right before what it leads to.
    """
    import networkx as nx  # a third of a second, and only where a graph is drawn

    graph = nx.DiGraph()
    graph.add_nodes_from(blocks)
    graph.add_edges_from(arrows)
    whole = nx.condensation(graph)
    layer = {part: k for k, parts in enumerate(nx.topological_generations(whole)) for part in parts}
    for part in list(whole):
        if not whole.in_degree(part) and whole.out_degree(part):
            layer[part] = min(layer[after] for after in whole.successors(part)) - 1
    lowest = min(layer.values(), default=0)
    return {block: layer[part] - lowest for part, data in whole.nodes(data=True) for block in data["members"]}


def _pull_along(layer: dict[str, int], loose: Iterable[str], arrows: Iterable[tuple[str, str]]) -> None:
    """Move blocks that only the step before connects next to what they feed."""
    fed = defaultdict[str, list[int]](list)
    for source, target in arrows:
        fed[source].append(layer[target])
    for block in loose:
        if fed[block]:
            layer[block] = max(0, min(fed[block]) - 1)


def order_layers(layers: list[list[Item]], neighbours: Mapping[Item, Sequence[Neighbour]]) -> None:
    """Order the items of each layer, in place, so that few arrows cross: repeated sweeps by barycentre."""
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        step = -1 if forth else 1
        for k in range(len(layers)) if forth else reversed(range(len(layers))):
            if 0 <= k + step < len(layers):
                place = {item: i for i, item in enumerate(layers[k + step])}
                layers[k].sort(key=_barycentre(place, neighbours, {item: i for i, item in enumerate(layers[k])}))


def _barycentre(
    place: Mapping[Item, int], neighbours: Mapping[Item, Sequence[Neighbour]], own: Mapping[Item, int]
) -> Callable[[Item], float]:
    scale = max(1, len(place)) / max(1, len(own))

    def key(item: Item) -> float:
        near = [place[other] + share for other, share in neighbours.get(item, ()) if other in place]
        return sum(near) / len(near) if near else own[item] * scale

    return key


def spread(wanted: Sequence[float], sizes: Sequence[float], gap: float) -> list[float]:
    """Centres, in order and `gap` apart, nearest to the wanted ones in least squares (pool adjacent violators)."""
    offsets, total = [], 0.0
    for k, size in enumerate(sizes):
        total += size / 2 + (gap + sizes[k - 1] / 2 if k else 0)
        offsets.append(total)
    pools: list[tuple[float, int]] = []
    for target, offset in zip(wanted, offsets, strict=True):
        mean, count = target - offset, 1
        while pools and pools[-1][0] > mean:
            previous, n = pools.pop()
            mean, count = (mean * count + previous * n) / (count + n), count + n
        pools.append((mean, count))
    levels = [mean for mean, count in pools for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]
