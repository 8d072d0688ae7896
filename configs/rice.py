"""Rice-N: regions that trade, save and mitigate share one climate; 20 steps of 5 years.

    python -m pax.main --config=configs/rice.py:ppo

A variant is `<learner>[,opponent=self|shared]`, `mediator`, or `<shaper>[,opponent=ppo|ppo_memory][,small]`,
each with `,regions=27` and `,quicktest`; `python -m pax.main --list` shows them all.
"""

from configs import _climate as climate

VARIANTS = climate.variants("Rice")


def get_config(argument: str = "ppo"):
    return climate.get_config(argument, "Rice")
