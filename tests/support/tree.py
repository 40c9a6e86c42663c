"""The repository's own files."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "etir"


def package_sources() -> Iterator[tuple[str, Path]]:
    """Each module of the package as (dotted name, file), reached through the symlinks."""
    for folder in (PACKAGE, *(p for p in sorted(PACKAGE.iterdir()) if p.is_symlink())):
        files = folder.glob("*.py") if folder == PACKAGE else folder.rglob("*.py")
        for file in sorted(files):
            parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file
