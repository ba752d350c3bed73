"""Pages: foreign words are shown, and never obeyed."""

from __future__ import annotations

import math
from html.parser import HTMLParser

from zsbench.reports.html import ENVIRONMENT, fixed, letter, percent


def test_numbers_that_are_undefined_are_dashes_and_empty_bars():
    assert (fixed(math.nan), fixed(1.25, 2), percent(math.nan), percent(-3), percent(120)) == ("-", "1.25", 0, 0, 100)


def test_there_is_a_letter_for_every_run():
    assert [letter(number) for number in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_words_are_escaped_in_text_and_in_attributes():
    nasty = "</title><script>alert(1)</script> \" ' & {{ 7 * 7 }}"
    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append((tag, dict(attributes)))

        def handle_data(self, data):
            found.append(data)

    parser = Parser()
    parser.feed(ENVIRONMENT.from_string('<b title="{{ word }}">{{ word }}</b>').render(word=nasty))
    parser.close()
    assert found[0] == ("b", {"title": nasty}) and "".join(found[1:]) == nasty
