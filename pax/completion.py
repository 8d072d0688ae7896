"""Completion in bash of what `pax` takes: commands, flags, variants of configs, and their settings.

    source <(pax --completion=bash)

The script asks this module, `python -m pax.completion [CONFIG]`, for what may follow `--config=` or
`--config.`, once per folder and config, and remembers it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from absl import flags

from pax.config.files import list_variants, load_config
from pax.errors import PaxError
from pax.programs import PROGRAMS
from pax.run.directory import flat

SHELLS = ("bash",)
# Bash takes = and : for ends of words, so that what stands before the last of them is not repeated.
SCRIPT = """\
declare -gA _pax_words
_pax_ask() {
    local key="$PWD ${1:-}"
    [[ ${_pax_words[$key]+known} ]] || _pax_words[$key]=$(@PYTHON@ -m pax.completion "$@" 2>/dev/null)
    words=${_pax_words[$key]}
}
_pax() {
    local line=${COMP_LINE:0:COMP_POINT} words=""
    local word=${line##*[[:space:]]}
    local cut=${word%"${word##*[=:]}"}
    if [[ $word == --config=* ]]; then
        _pax_ask
    elif [[ $word == --config.*=* ]]; then
        :
    elif [[ $word == --config.* && $line =~ --config[=\\ ]([^[:space:]]+) ]]; then
        _pax_ask "${BASH_REMATCH[1]}"
    elif [[ $word == -* ]]; then
        words="@FLAGS@"
    elif [[ ${line% *} == "${COMP_WORDS[0]}" ]]; then
        words="@PROGRAMS@"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace 2>/dev/null || :
    return 0
}
complete -o default -F _pax pax
"""


def script(own: flags.FlagValues) -> str:
    """Returns the script, for a program with these flags."""
    names = [f"--{name}" if own[name].boolean else f"--{name}=" for name in sorted(own)]
    parts = {
        "@PYTHON@": shlex.quote(sys.executable),
        "@FLAGS@": " ".join([*names, "--config."]),
        "@PROGRAMS@": " ".join(PROGRAMS),
    }
    text = SCRIPT
    for name, value in parts.items():
        text = text.replace(name, value)
    return text


def words(config: str) -> list[str]:
    """Returns what may follow on a command line: variants, or, given a config, its settings."""
    if not config:
        return [f"--config={line.split()[0]}" for line in list_variants()]
    return [f"--config.{key}=" for key in flat(load_config(config).to_dict())]


def main(arguments: Sequence[str]) -> None:
    """Prints words, a line each; nothing where there is no such config."""
    try:
        print("\n".join(words("".join(arguments[:1]))))
    except PaxError:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
