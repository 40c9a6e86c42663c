"""What every test shares: float64, cheap compilation, reproducible properties, golden files."""

import os
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

# Before JAX is imported, and in the environment so that programs that a test starts inherit it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "true")
# Level 0 of LLVM saves a quarter of the compile time and changes only rounding; buffers are assigned before it. Where
# the flag is known (later versions abort), the older emitters take half the time of those through MLIR. By default XLA
# deals a program's kernels out to 32 modules, and at level 0 LLVM simplifies those that hold a tanh, say: a kernel
# would be rounded as its neighbours are, and equal loops of two programs not the same. So all go to one module.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)
# Compiled programs are shared between workers and kept between runs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import brainstate  # noqa: F401  (0.5.4 switches float64 off when it is imported: let it be here, not in the middle of a test)
import hypothesis
import jax
import pytest
from golden_files import compare_with_golden

jax.config.update("jax_enable_x64", True)

GOLDENS = Path(__file__).parent / "goldens"
ONCE = frozenset({"cli", "docs", "examples", "instruments", "seeds", "training", "view"})
"""Rooms that stand on the others and ask little of JAX itself: whichever its name says, each case is of one leg."""
COMPILING = frozenset({"api", "backends", "frameworks", "passes", "rules", "zoo"})
"""Rooms whose cases compile programs."""
SHARES = (pytest.mark.first_leg, pytest.mark.second_leg, *[pytest.mark.slow] * 4)
"""Of the cases of a test the legs take one each. Of those that compile programs, and are not marked `each`, a half is
slow where they are eight or more, and two thirds where they are sixteen or more."""

# The same examples on every run: a gate does not roll dice. `--hypothesis-profile=explore` does.
hypothesis.settings.register_profile(
    "gate", deadline=None, derandomize=True, max_examples=25, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=500, print_blob=True)
hypothesis.settings.load_profile("gate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite golden files that differ, and fail")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Share tests between the two legs; of many cases of one some are slow."""
    here = Path(__file__).parent
    cases: dict[tuple[Path, str], list[pytest.Item]] = {}
    for item in items:
        if any(item.get_closest_marker(name) for name in ("slow", "first_leg", "second_leg")):
            continue
        alone = ONCE.intersection(item.path.relative_to(here).parts)
        cases.setdefault((item.path, item.nodeid if alone else item.nodeid.split("[")[0]), []).append(item)
    for own in cases.values():
        sampled = COMPILING.intersection(own[0].path.relative_to(here).parts) and not own[0].get_closest_marker("each")
        shares = 2 if not sampled else 6 if len(own) >= 16 else 4 if len(own) >= 8 else 2
        first = zlib.crc32(own[0].nodeid.encode()) % 2 if len(own) == 1 else 0
        for k, item in enumerate(own):
            item.add_marker(SHARES[(first + _digit_sum(k, shares)) % shares])


def _digit_sum(number: int, base: int) -> int:
    """The sum of a number's digits: modulo the base it follows none of the axes that cases are a product of."""
    return number % base + _digit_sum(number // base, base) if number else 0


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """A check of a whole text against `tests/goldens/<name>`; `--update-goldens` rewrites the file and fails."""
    update = request.config.getoption("--update-goldens")

    def check(name: str, text: str) -> None:
        compare_with_golden(GOLDENS / name, text, update=update)

    return check
