"""What every test shares: float64, cheap compilation, reproducible properties, golden files."""

import os
from collections.abc import Callable
from pathlib import Path

# Before JAX is imported, and in the environment so that programs that a test starts inherit it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "true")
# Level 0 of LLVM saves a quarter of the compile time and changes only rounding; buffers are assigned before it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
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
LARGE = 4
"""From so many cases on the legs share them."""

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
    """Share the cases of large tests between the two legs: each runs half of them, `make test-all` runs all."""
    cases: dict[tuple[Path, str], list[pytest.Item]] = {}
    for item in items:
        if not any(item.get_closest_marker(name) for name in ("slow", "first_leg")):
            cases.setdefault((item.path, item.nodeid.split("[")[0]), []).append(item)
    for own in cases.values():
        if len(own) >= LARGE:
            for k, item in enumerate(own):
                # The parity of the binary digits of `k` follows none of the axes that cases are a product of.
                item.add_marker(pytest.mark.second_leg if k.bit_count() % 2 else pytest.mark.first_leg)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """A check of a whole text against `tests/goldens/<name>`; `--update-goldens` rewrites the file and fails."""
    update = request.config.getoption("--update-goldens")

    def check(name: str, text: str) -> None:
        compare_with_golden(GOLDENS / name, text, update=update)

    return check
