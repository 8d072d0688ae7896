"""C-Rice-N: Rice-N with a climate club, whose members mitigate and put tariffs on others.

    python -m pax.main --config=configs/c_rice.py:ppo

A variant is `<learner>[,opponent=self|shared|...]`, `mediator`, or `<shaper>[,opponent=...][,small]`, each
with `,regions=27` and `,quicktest`; `python -m pax.main --list` shows them all. `mediator_gs` and
`mediator_shaper` are mediators by evolution, of regions that learn in a trial.
"""

from ml_collections import ConfigDict

from pax.configs import _helper as helper
from pax.configs import rice
from pax.configs.rice import climate_game

# All but the planner of Rice-N, a game of its own.
VARIANTS = (
    {
        # As at the small size.
        name: text.replace("mitigation rises", "mitigation falls to .3")
        for name, text in rice.VARIANTS.items()
        if name != "sarl"
    }
    | helper.ppo_against(
        random="saves and emits for itself, as against itself",
        naive="all join the club, and mitigate .3",
    )
    | {
        "mediator_gs,opponent=ppo,small": "for two cores and a few minutes: mitigation falls from .5 to "
        ".3, whatever the mediator does, which earns .13 per step all the time",
    }
)


def get_config(argument: str = "ppo") -> ConfigDict:
    return climate_game(argument, "ClubRice")
