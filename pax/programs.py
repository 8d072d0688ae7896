"""The command `pax`: what `python -m pax.main` does, and the other programs by name.

pax --config=configs/ipd.py:ppo        python -m pax.main --config=configs/ipd.py:ppo
pax report exp/ipd-ppo-*               python -m pax.report exp/ipd-ppo-*
pax crossplay RUN                      python -m pax.evaluation.crossplay RUN
pax tournament                         python -m pax.evaluation.tournament
pax exploit POLICY                     python -m pax.evaluation.exploit POLICY
pax zoo list                           python -m pax.zoo list
pax sweep --config=... --workdir=...   python -m pax.sweeps --config=... --workdir=...
"""

from __future__ import annotations

import importlib
import os
import sys

from pax.errors import nearest

PROGRAMS = {
    "new": "pax.new.__main__",
    "report": "pax.report.__main__",
    "crossplay": "pax.evaluation.crossplay",
    "tournament": "pax.evaluation.tournament",
    "exploit": "pax.evaluation.exploit",
    "zoo": "pax.zoo.__main__",
    "sweep": "pax.sweeps.__main__",
}
"""The modules of programs, by their names after `pax`."""


def run() -> None:
    """Runs the program that the command line names."""
    # As `python -m` does, so that modules of the user's are found from here.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in PROGRAMS:
        del sys.argv[1]
    elif name and not name.startswith("-"):
        print(f"Error: pax has no command {name!r}: {nearest(name, PROGRAMS)}", file=sys.stderr)
        sys.exit(2)
    # Imported late, as each takes a second that the others need not wait for.
    importlib.import_module(PROGRAMS.get(name, "pax.main")).run()


if __name__ == "__main__":
    run()
