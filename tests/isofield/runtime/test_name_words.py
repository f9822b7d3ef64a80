"""Words of names in any script."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from isofield.runtime.name_words import composed, words_of


@given(st.text())
def test_composed_and_decomposed_names_are_one(name: str):
    assert words_of(unicodedata.normalize("NFD", name)) == words_of(unicodedata.normalize("NFC", name))
    assert composed(composed(name)) == composed(name)


@given(st.lists(st.from_regex(r"[a-zA-Z0-9]+", fullmatch=True)), st.sampled_from([" ", "_", "-", ".", "+ ", "__"]))
def test_words_come_back_whatever_joins_them(words: list[str], joint: str):
    assert words_of(joint.join(words)) == words
    assert words_of(f"é{joint}" + joint.join(words)) == ["é", *words]  # the way of other scripts


def test_vowel_signs_stay():
    assert words_of("का_raw") == ["का", "raw"] and words_of("की") != words_of("का")
