"""One process of several that train one model together: `worker.py ADDRESS PROCESS PROCESSES FOLDER whole|lost|resume`.

The whole run takes four rounds. One that will be lost saves what it has after two, says so, and goes on for good;
`resume` begins with what was saved. Every process that ends gives a digest of the bytes that it has.
"""

import hashlib
import itertools
import sys

import jax
import numpy as np
import on_meshes as model
import orbax.checkpoint as ocp

import etir

ROUNDS, SAVED = 4, 2


def main(address: str, process: str, processes: str, folder: str, part: str) -> None:
    jax.distributed.initialize(address, int(processes), int(process))
    mesh = jax.make_mesh((len(jax.devices()) // 2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    learner = etir.shard(model.compiled(), mesh, batch="data", weights="model")
    params = learner.layout.put("params", model.params())
    now = (params, model.OPTIMIZER.init(params), learner.init())
    train = learner.train(model.loss, model.OPTIMIZER)
    with ocp.StandardCheckpointer() as checkpoints:
        if part == "resume":
            now = checkpoints.restore(f"{folder}/saved", now)
        for k in itertools.count(SAVED if part == "resume" else 0):
            if k == ROUNDS and part != "lost":
                break
            if k == SAVED and part == "lost":
                checkpoints.save(f"{folder}/saved", now)
                checkpoints.wait_until_finished()
                print("saved", flush=True)  # noqa: T201 (what the test waits for)
            now = train(*now, *model.sequences())[:3]
    sys.stdout.write(f"digest {digest(now)}\n")


def digest(tree: object) -> str:
    """Of the bytes of the shards that this process holds, in order."""
    found = hashlib.sha256()
    for x in jax.tree.leaves(tree):
        for shard in sorted(x.addressable_shards, key=lambda shard: shard.device.id):
            found.update(np.asarray(shard.data).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
