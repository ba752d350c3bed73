"""What papers print stays as printed; what is wrong with it stands beside it."""

import pytest

from zsbench.errors import UserError
from zsbench.reports.published import COLUMNS, NUMBERS, hiou_follows, read_published


def row(seen, unseen, hiou):
    return {"mIoU_S": seen, "mIoU_U": unseen, "hIoU": hiou}


@pytest.mark.parametrize(
    ("numbers", "follows"),
    [
        (("78.0", "15.6", "26.1"), True),  # 26.0 from the printed digits, 26.06 from what they may stand for
        (("35.3", "30.3", "34.8"), False),
        (("35.3", "30.3", "32.6"), True),
        (("35.30", "30.30", "32.70"), False),  # more digits, less room
        (("0", "0", "0"), True),
        (("75.83", "0.01", "0.02"), True),
        (("52.8", "", ""), True),
    ],
)
def test_hiou_follows_from_seen_and_unseen(numbers, follows):
    assert hiou_follows(row(*numbers)) is follows


def test_every_number_that_does_not_follow_is_told():
    """A printed hIoU that is not that of its S and U has a reason beside it, and a correction mends it."""
    for each in read_published():
        assert hiou_follows(each) or each["reason"], each
        if each["correction"]:
            name, _, value = each["correction"].partition("=")
            assert name in NUMBERS and each["reason"]
            assert hiou_follows({**each, name: value}), each


GOOD = [name if name not in NUMBERS else "1.5" for name in COLUMNS]


def test_a_mark_that_editors_put_first_does_no_harm(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("\ufeff" + "\r\n".join(map(",".join, (COLUMNS, GOOD))), encoding="utf-8")
    assert [row["dataset_id"] for row in read_published(path)] == ["dataset_id"]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (COLUMNS, [*GOOD[:-3], "high", *GOOD[-2:]], "line 2: mIoU_U is 'high'; expected a number"),
        (COLUMNS, [*GOOD[:-3], "inf", *GOOD[-2:]], "line 2: mIoU_U is 'inf'; expected a number"),
        (COLUMNS, GOOD[:-1], "line 2: more or fewer cells than columns"),
        (COLUMNS, [*GOOD, "more"], "line 2: more or fewer cells than columns"),
        (COLUMNS[1:], GOOD[1:], "line 2: no column dataset_id"),
        (COLUMNS, ['"open', *GOOD[1:]], "not readable as CSV"),
    ],
)
def test_what_is_no_collection_is_refused_with_its_line(tmp_path, header, row, message):
    path = tmp_path / "published.csv"
    path.write_text("\n".join(map(",".join, (header, row))), encoding="utf-8")
    with pytest.raises(UserError, match=rf"published\.csv, {message}|published\.csv.*{message}"):
        read_published(path)
