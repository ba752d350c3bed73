"""Foreign words in Markdown: seen as they are, never obeyed."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.reports.markup import cell, code, link, markdown_table, plain

NASTY = st.text(st.sampled_from("|`<>&\\[](){}*_~$#\n\r\t\0\u2028\u202e\x1b ab-"), max_size=30) | st.text(
    st.characters()
)


@given(NASTY)
def test_a_cell_shows_its_text_in_one_line(text):
    assert html.unescape(cell(text)) == plain(text)
    assert not set(cell(text)) & set("|`<*~$\\\n\r\0\x1b\u2028\u202e") and "](" not in cell(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b", "a_b"),
        ("_a_", "&#95;a&#95;"),
        ("**b**", "&#42;&#42;b&#42;&#42;"),
        ("$x$", "&#36;x&#36;"),
        ("a (b)", "a (b)"),
    ],
)
def test_nothing_begins_in_a_cell(text, shown):
    """An underscore within a word, and a bracket after none, begin nothing, and stay readable in the source."""
    assert cell(text) == shown


@given(st.lists(st.tuples(NASTY, NASTY), min_size=1, max_size=5))
def test_a_table_keeps_its_rows_and_columns(rows):
    lines = markdown_table(["a", "b"], [[cell(text) for text in row] for row in rows]).split("\n")
    assert len(lines) == 2 + len(rows)
    assert {line.count("|") for line in lines} == {3}


@given(NASTY)
def test_code_ends_where_it_should(text):
    assert code(text).count("`") == 2 and "\n" not in code(text)


@pytest.mark.parametrize("name", ["a b.json", "x).json", "50%.json", "|.json", "<b>.json"])
def test_a_link_leads_to_the_file(name):
    text, _, address = link("0", f"results/{name}").partition("](")
    assert text == "[0" and not set(address[:-1]) & set(" |()<>")
