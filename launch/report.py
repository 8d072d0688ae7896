"""Writes a report of runs: `python -m launch.report` is `python -m pax.report`."""

from pax.report.__main__ import run

if __name__ == "__main__":
    run()
