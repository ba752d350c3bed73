"""What papers print stays as printed; what is wrong with it stands beside it."""

import pytest

from zsbench.errors import UserError
from zsbench.reports.published import NUMBERS, hiou_follows, read_published


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


@pytest.mark.parametrize(
    "text",
    [
        b"dataset_id,mIoU\nd,12,3\n",
        b"dataset_id,mIoU\nd\n",
        b"dataset_id,mIoU\nd,many\n",
        "dataset_id,mIoU\nd,²\n".encode(),
        b"dataset_id,mIoU\nd,99999999999999999999999\n",
        b"other\nd\n",
        b"dataset_id\n\xff\n",
        b'dataset_id\n"open\n',
    ],
)
def test_a_damaged_table_is_named(tmp_path, text):
    (tmp_path / "published.csv").write_bytes(text)
    with pytest.raises(UserError, match=r"published\.csv: (no|not a readable) table of published numbers"):
        read_published(tmp_path / "published.csv")
