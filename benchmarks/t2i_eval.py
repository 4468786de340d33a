"""`recap-eval t2i` against torch-fidelity, pytorch-fid, clean-fid, torchmetrics, prdc and scipy, part after part.

    python -m benchmarks.t2i_eval                      all parts, about fifteen minutes on two cores; needs the machine alone
    python -m benchmarks.t2i_eval --only frechet,loader

Parts: frechet (distances and statistics: benchmarks/frechet.py), network and loader (features end to end, and what it costs to
get images: benchmarks/extract.py), parity (the peers' own figures: benchmarks/t2i_parity.py). Each prints its own table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = {
    "frechet": ["benchmarks.frechet"],
    "network": ["benchmarks.extract", "--only", "network"],
    "loader": ["benchmarks.extract", "--only", "loader"],
    "parity": ["benchmarks.t2i_parity"],
}


def main() -> int:
    """Run the parts; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,…", help="which parts (default: all)")
    names = parser.parse_args().only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]}; there are {', '.join(PARTS)}")
    failed = 0
    for name in names:
        print(f"== {name}: python -m {' '.join(PARTS[name])}", flush=True)
        failed += subprocess.run([sys.executable, "-m", *PARTS[name]], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
