"""Two processes that find each other on this machine: they agree with one, and resume where one of them was lost."""

import os
import socket
import subprocess
import sys
from pathlib import Path

_WORKER = Path(__file__).parent / "worker.py"
_ROOT = Path(__file__).parents[3]


def start(folder, part):
    """Two processes of four devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(_ROOT / "src"), str(_ROOT / "tests" / "support")]),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "true",
        "JAX_NUM_CPU_DEVICES": "4",
        "XLA_FLAGS": "",
    }
    return [
        subprocess.Popen(
            [sys.executable, str(_WORKER), address, str(process), "2", str(folder), part],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]


def digests(processes):
    texts = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(texts)
    return [line for text in texts for line in text.splitlines() if line.startswith("digest")]


def test_a_run_that_loses_a_process_resumes_bit_for_bit(tmp_path):
    whole = digests(start(tmp_path, "whole"))
    lost = start(tmp_path, "lost")
    assert any(line.startswith("saved") for line in lost[1].stdout)
    for process in reversed(lost):
        process.kill()
        process.communicate()
    assert digests(start(tmp_path, "resume")) == whole
    assert whole[0] != whole[1]
