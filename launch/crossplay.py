"""Cross-play: `python -m launch.crossplay` is `python -m pax.evaluation.crossplay`."""

from pax.evaluation.crossplay import run

if __name__ == "__main__":
    run()
