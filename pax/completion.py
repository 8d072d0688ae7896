"""Completion in bash of what `pax` takes: commands, flags, variants of configs, and their settings.

    source <(pax --completion=bash)

The script asks this module, `python -m pax.completion [CONFIG]`, for what may follow `--config=` or
`--config.`, once per folder and config, and remembers it.
"""

from __future__ import annotations

import importlib
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
# By program, the empty name for training: flags, and values of those that have few.
declare -gA _pax_flags=(@FLAGS@) _pax_values=(@VALUES@)
_pax_ask() {
    local key="$PWD ${1:-}"
    [[ ${_pax_words[$key]+known} ]] || _pax_words[$key]=$(@PYTHON@ -m pax.completion "$@" 2>/dev/null)
    words=${_pax_words[$key]}
}
_pax() {
    local line=${COMP_LINE:0:COMP_POINT} words=""
    local word=${line##*[[:space:]]}
    local cut=${word%"${word##*[=:]}"}
    local program=${COMP_WORDS[1]:-}
    [[ ${_pax_flags[$program/]+known} ]] || program=""
    if [[ $word == --config=* ]]; then
        _pax_ask
    elif [[ $line =~ [[:space:]]--config[[:space:]]+[^[:space:]]*$ ]]; then
        _pax_ask
        words=${words//--config=/}
    elif [[ $word == --config.*=* ]]; then
        :
    elif [[ $word == --config.* && $line =~ --config[=\\ ]([^[:space:]]+) ]]; then
        _pax_ask "${BASH_REMATCH[1]}"
    elif [[ $word == --*=* ]]; then
        words=${_pax_values[$program/]}
    elif [[ $word == -* ]]; then
        words=${_pax_flags[$program/]}
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


def script() -> str:
    """Returns the script."""
    flags_of = {name: _flags_of(module) for name, module in {"": "pax.main", **PROGRAMS}.items()}
    parts = {
        "@PYTHON@": shlex.quote(sys.executable),
        "@FLAGS@": _array({name: _names(own) for name, own in flags_of.items()}),
        "@VALUES@": _array({name: _values(own) for name, own in flags_of.items()}),
        "@PROGRAMS@": " ".join(PROGRAMS),
    }
    text = SCRIPT
    for name, value in parts.items():
        text = text.replace(name, value)
    return text


def _flags_of(module: str) -> flags.FlagValues:
    """Returns the flags of a program, by its module."""
    own = flags.FlagValues()
    importlib.import_module(module).define_flags(own)
    return own


def _names(own: flags.FlagValues) -> list[str]:
    names = [f"--{name}" if own[name].boolean else f"--{name}=" for name in sorted(own)]
    return [*names, "--config."] if "--config=" in names else names


def _values(own: flags.FlagValues) -> list[str]:
    """Returns the flags that take one of a few values, with each of these."""
    few = {name: getattr(own[name].parser, "enum_values", None) or () for name in sorted(own)}
    return [f"--{name}={value}" for name, values in few.items() for value in values]


def _array(by_name: dict[str, list[str]]) -> str:
    """Returns what stands between the brackets of an associative array of bash."""
    # The slash, because bash takes no empty key.
    return " ".join(f'[{name}/]="{" ".join(words)}"' for name, words in by_name.items())


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
