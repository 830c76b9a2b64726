"""`python -m tests.chaos`: measures the gates of RELIABILITY.md. Exits with 1 if one is missed.

Takes about ten minutes on two cores that do nothing else; a loaded machine may miss a gate by itself.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from prealloc.model.policy import RunPolicy
from tests.chaos.gate import machine, options, report
from tests.chaos.kills import master_kills
from tests.chaos.limits import lanes, memory
from tests.chaos.place import Place, tell
from tests.chaos.single import families, hangs, master_deaths, worker_deaths

KILLS, ACKNOWLEDGED, MASTERS = 500, 10_000, 100


def main() -> int:
    asked = options("tests.chaos", __doc__, minutes=12.0)
    seed: int = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    share = 20 if asked.quick else 1
    tell(f"seed {seed}")
    about = {**machine(), "seed": str(seed)}
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="prealloc-chaos-") as folder:
        place = Place(Path(folder))
        gates = [
            worker_deaths(place, rng, max(1, 5 // share)),
            *hangs(place, max(1, 3 // share), 0.0),
            *hangs(place, 1, RunPolicy().grace_s),
            families(place, max(2, 10 // share), 0.0),
            families(place, 2, RunPolicy().grace_s),
            memory(place, max(1, 3 // share)),
            *lanes(place, max(1, 2 // share)),
            *master_deaths(place, rng, MASTERS // share),
            *master_kills(
                place,
                seed,
                kills=KILLS // share,
                acknowledged=ACKNOWLEDGED // share,
                limit_s=asked.minutes * 60 / share,
            ),
        ]
    if asked.quick:
        tell("quick: a smoke test, its figures are those of a twentieth of the trials")
    return report(about, gates, place.broken, asked.json)


if __name__ == "__main__":
    sys.exit(main())
