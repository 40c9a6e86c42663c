"""The suite: `python -m benchmarks --suite quick|full|gpu [--only GLOB ...] [--out FILE.json] [--plots DIRECTORY]`.

Prints a table as it goes, and ends with status 1 where a figure that the project holds itself to is lost.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import machine, record
from .cases import CASES
from .suite import SUITES, Settings, chosen


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--suite", choices=SUITES, default="quick", help="quick: small sizes, to see that everything runs"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="GLOB", help="the cases whose names match")
    parser.add_argument("--rounds", type=int, default=None, help="interleaved rounds of each case (7; quick: 3)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write every record here")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="draw the records (needs matplotlib)")
    parser.add_argument("--list", action="store_true", help="the cases, and what they measure")
    parser.add_argument("--dry", action="store_true", help="see that all of it runs: tiny sizes, kernels interpreted")
    options = parser.parse_args()
    try:
        cases = chosen(CASES, options.suite, options.only)
    except ValueError as wrong:
        parser.error(str(wrong))
    if options.list:
        print("\n".join(f"{case.name:24} {case.about}" for case in cases))
        return 0

    found = machine.describe()
    print(", ".join(f"{key} {value}" for key, value in found.items() if key != "copy_bytes_per_second"))
    bandwidth = float(str(found["copy_bytes_per_second"]))
    print(f"copies {bandwidth / 1e9:.1f} GB a second, read and written", flush=True)
    rounds = options.rounds or (1 if options.dry else 3 if options.suite == "quick" else 7)
    cores = int(str(found["cores"]))
    settings = Settings(suite=options.suite, rounds=rounds, bandwidth=bandwidth, cores=cores, dry=options.dry)
    records: list[record.Record] = []
    for case in cases:
        start = time.perf_counter()
        new = case.run(settings)
        records += new
        print(record.table(new), f"\n[{case.name}: {time.perf_counter() - start:.0f} s]", flush=True)
        if options.out:
            record.write(options.out, found, options.suite, records)
    if options.suite == "gpu":
        print(record.table(records))
    if options.plots:
        from . import plots

        plots.draw(options.plots, records)
    lost = [r for r in records if r.verdict == "LOST"]
    print("\n" + (f"{len(lost)} lost" if lost else "none lost") + f" of {sum(bool(r.verdict) for r in records)} bounds")
    print(record.table(lost) if lost else "", end="")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
