"""Flags are of the kind of their default, within bounds, and their texts of the form that is asked for."""

import pytest
from absl import flags

from pax.config.flags import check_forms, definer
from pax.errors import ConfigError


def parse(*argv):
    own = flags.FlagValues()
    define = definer(own)
    define("number", 3, "A number.", low=1, high=5)
    define("share", None, "A share.", kind=float)
    define("text", None, "A text.")
    define("several", [], "Texts.")
    define("each", (), "A text, any number of times.")
    define("is_on", False, "Whether.")
    define("mode", "a", "Which.", choices=["a", "b"])
    own(["program", *argv])
    return own


def test_values_are_of_the_kind_of_the_default():
    given = parse()
    assert (given.number, given.share, given.text, given.is_on, given.mode) == (
        *(3, None, None, False),
        "a",
    )
    assert (list(given.several), list(given.each)) == ([], [])
    given = parse("--number=5", "--share=.5", "--several=a,b", "--each=a,b", "--each=c", "--is_on")
    assert (given.number, given.share, given.is_on) == (5, 0.5, True)
    assert (given.several, given.each) == (["a", "b"], ["a,b", "c"])


@pytest.mark.parametrize(
    "argument", ["--number=0", "--number=6", "--number=a", "--mode=c", "--share=nan"]
)
def test_other_values_are_refused(argument):
    with pytest.raises(flags.IllegalFlagValueError):
        parse(argument)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--text=", "--text is empty: give a value, or leave it out"),
        ("--text=A", "--text=A: give small letters"),
        ("--text=a\nb", r"--text='a\nb': give small letters"),
        ("--text=ab", None),
        ("--is_on", None),
    ],
)
def test_texts_are_lines_of_their_form(argument, message):
    forms = {"text": ("[a-z\n]+", "give small letters")}
    given = parse(argument)
    if message is None:
        check_forms(given, forms)
        return
    with pytest.raises(ConfigError) as caught:
        check_forms(given, forms)
    assert str(caught.value) == message
