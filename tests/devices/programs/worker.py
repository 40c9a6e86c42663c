"""One process of several that train one model together: `worker.py ADDRESS PROCESS PROCESSES FOLDER [begin|resume]`.

The whole run takes four rounds, and saves what it has after two; `resume` begins with what was saved, and `begin` ends
there. Every process prints a digest of the bytes that it ends with.
"""

import hashlib
import sys

import jax
import numpy as np
import on_meshes as model
import orbax.checkpoint as ocp

import etir

ROUNDS, SAVED = 4, 2


def main(address: str, process: str, processes: str, folder: str, part: str = "whole") -> None:
    jax.distributed.initialize(address, int(processes), int(process))
    mesh = jax.make_mesh((len(jax.devices()) // 2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    learner = etir.shard(model.compiled(), mesh, batch="data", weights="model")
    params = learner.layout.put("params", model.params())
    now = (params, model.OPTIMIZER.init(params), learner.init())
    train = learner.train(model.loss, model.OPTIMIZER)
    with ocp.StandardCheckpointer() as checkpoints:
        if part == "resume":
            now = checkpoints.restore(f"{folder}/saved", now)
        for k in range(SAVED if part == "resume" else 0, SAVED if part == "begin" else ROUNDS):
            now = train(*now, *model.sequences())[:3]
            if k + 1 == SAVED and part == "begin":
                checkpoints.save(f"{folder}/saved", now)
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
