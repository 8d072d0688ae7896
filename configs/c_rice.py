"""C-Rice-N: Rice-N with a climate club, whose members mitigate and put tariffs on others.

    python -m pax.main --config=configs/c_rice.py:ppo

A variant is `<learner>[,opponent=self|shared]`, `mediator`, or `<shaper>[,opponent=ppo|ppo_memory][,small]`,
each with `,regions=27` and `,quicktest`; `python -m pax.main --list` shows them all.
"""

from configs import _climate as climate

VARIANTS = climate.variants("ClubRice")


def get_config(argument: str = "ppo"):
    return climate.get_config(argument, "ClubRice")
