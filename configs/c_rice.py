"""C-Rice-N: Rice-N with a climate club, whose members mitigate and put tariffs on others.

    python -m pax.main --config=configs/c_rice.py:ppo

A variant is `<learner>[,opponent=self|shared|...]`, `mediator`, or `<shaper>[,opponent=...][,small]`, each
with `,regions=27` and `,quicktest`; `python -m pax.main --list` shows them all. `mediator_gs` and
`mediator_shaper` are mediators by evolution, of regions that learn in a trial.
"""

from ml_collections import ConfigDict

from pax.configs.rice import VARIANTS, climate_game

__all__ = ["VARIANTS", "get_config"]


def get_config(argument: str = "ppo") -> ConfigDict:
    return climate_game(argument, "ClubRice")
