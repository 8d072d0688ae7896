"""Tournaments: `python -m launch.tournament` is `python -m pax.evaluation.tournament`."""

from pax.evaluation.tournament import run

if __name__ == "__main__":
    run()
