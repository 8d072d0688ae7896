"""What bash offers after `pax`, by the script that Pax prints, in bash itself."""

import subprocess

import pytest

from pax import completion

STUB = """#!/bin/bash
# Stands for Python: prints what `python -m pax.completion` does, and notes that it was asked.
echo "$*" >> asked
if [[ $3 ]]; then
    printf '%s\\n' --config.num_envs= --config.agent1.learning_rate= --config.agent1.network=
else
    printf '%s\\n' --config=configs/ipd.py:ppo --config=configs/ipd.py:ppo_memory --config=configs/imp.py:ppo
fi
"""


def offered(tmp_path, *lines):
    """Returns what is offered at the end of each line, in one shell."""
    (tmp_path / "python").write_text(STUB)
    (tmp_path / "python").chmod(0o755)
    text = completion.script().replace(
        completion.shlex.quote(completion.sys.executable), "./python"
    )
    (tmp_path / "script").write_text(text)
    code = "source ./script\n"
    for line in lines:
        code += f"COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({line})\n_pax\n"
        code += 'echo "${COMPREPLY[*]}"\n'
    shell = ["bash", "--norc", "-euc", code]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in done.stdout.splitlines()]


def test_bash_offers_variants_settings_flags_and_commands(tmp_path):
    variants, second, settings, same, values, given, commands, none = offered(
        tmp_path,
        "pax --config=configs/i",
        "pax --config=configs/ipd.py:ppo_",
        "pax --config=configs/ipd.py:ppo --config.agent1.",
        "pax --config configs/ipd.py:ppo --config.num",
        "pax --config=configs/ipd.py:ppo --config.num_envs=",
        "pax --work",
        "pax cr",
        "pax report exp",
    )
    # Bash replaces what follows the last = or : only.
    assert variants == ["configs/ipd.py:ppo", "configs/ipd.py:ppo_memory", "configs/imp.py:ppo"]
    assert second == ["ppo_memory"]
    assert settings == ["--config.agent1.learning_rate=", "--config.agent1.network="]
    assert same == ["--config.num_envs="] and given == ["--workdir="]
    assert values == [] and commands == ["crossplay"] and none == []
    # Asked once for variants and once for each config.
    assert (tmp_path / "asked").read_text().splitlines() == [
        "-m pax.completion",
        "-m pax.completion configs/ipd.py:ppo",
    ]


def test_bash_offers_what_the_named_program_takes(tmp_path):
    out, own, none, executor, mode, switch, spaced = offered(
        tmp_path,
        "pax report exp/* --",
        "pax tournament --strat",
        "pax new --",
        "pax sweep --config=configs/ipd.py:ppo --executor=",
        "pax --mode=",
        "pax sweep --dry",
        "pax sweep --config configs/im",
    )
    assert "--out=" in out and "--workdir=" not in out and "--config." not in out
    assert own == ["--strategies="]
    assert none == [] and executor == ["local"] and mode == ["train", "evaluate", "export"]
    assert switch == ["--dry_run"] and spaced == ["configs/imp.py:ppo"]


def test_words_are_variants_and_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "--config=configs/ipd.py:ppo,opponent=defect" in completion.words("")
    settings = completion.words("configs/ipd.py:tabular")
    assert "--config.agent1.learning_rate=" in settings
    assert "--config.callbacks.scalars.every=" in settings
    completion.main(["configs/ipd.py:tabular"])
    assert capsys.readouterr().out.split() == settings
    with pytest.raises(SystemExit):
        completion.main(["configs/nope.py"])
    assert capsys.readouterr().out == ""
