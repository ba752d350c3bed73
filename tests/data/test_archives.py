"""Archives: what leads outside, links, or is absurd is refused before anything is written."""

from __future__ import annotations

import errno
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zsbench.data.archives import unpack
from zsbench.errors import UserError


def make_zip(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == link else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], link: str = "", to: str = "") -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if name == link:
                info.type, info.linkname = tarfile.SYMTYPE, to
            info.size = 0 if name == link else len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_unpacks_and_goes_on(tmp_path: Path, make: object) -> None:
    members = {"a/1.txt": b"one", "a/b/2.txt": b"two" * 1000}
    archive = make(tmp_path / "x.bin", members)  # type: ignore[operator]
    done = unpack(archive, tmp_path / "out")
    assert (done.written, done.kept) == (2, 0)
    (tmp_path / "out/a/1.txt").unlink()
    done = unpack(archive, tmp_path / "out")
    assert (done.written, done.kept) == (1, 1)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in members} == members


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "//evil", "a\\..\\..\\evil", "C:/evil", "."])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_outside_are_refused(tmp_path: Path, make: object, name: str) -> None:
    archive = make(tmp_path / "x.bin", {"fine.txt": b"x", name: b"x"})  # type: ignore[operator]
    with pytest.raises(UserError, match="outside"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing is written, not even what is fine"


def test_links_are_refused(tmp_path: Path) -> None:
    for archive in (
        make_zip(tmp_path / "x.zip", {"link": b"/etc"}, link="link"),
        make_tar(tmp_path / "x.tar", {"link": b"", "link/file": b"x"}, link="link", to="/etc"),
    ):
        with pytest.raises(UserError, match="link"):
            unpack(archive, tmp_path / "out")


def test_a_link_that_is_there_already_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="outside"):
        unpack(make_zip(tmp_path / "x.zip", {"a/file": b"x"}), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_bombs_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", {"bomb": bytes(100 << 20)})
    with pytest.raises(UserError, match=r"unpack to 1 files of 104,857,600 bytes; refused"):
        unpack(archive, tmp_path / "out")


def test_originals_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_bytes(b"mine, longer")
    with pytest.raises(UserError, match="is there already and differs"):
        unpack(make_zip(tmp_path / "x.zip", {"file": b"x"}), tmp_path / "out")
    assert (tmp_path / "out/file").read_bytes() == b"mine, longer"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["zip", "tar"]))
def test_damaged_archives_are_an_error_or_right(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    members = {"a.bin": bytes(range(256)) * 8, "b/c.bin": b"xyz" * 99}
    make = make_zip if kind == "zip" else make_tar
    content = bytearray(make(tmp_path / f"whole.{kind}", members).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    archive = tmp_path / f"broken.{kind}"
    archive.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    into = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    try:
        unpack(archive, into)
    except UserError as error:
        assert "broken" in str(error) or "is there already" in str(error)
    for path in into.rglob("*"):
        if kind == "zip" and path.is_file() and path.relative_to(into).as_posix() in members:
            assert path.read_bytes() == members[path.relative_to(into).as_posix()]


def test_a_full_disk_is_said_without_the_advice_to_download_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zsbench.data.archives.shutil.copyfileobj", full)
    with pytest.raises(UserError, match=r"cannot write .*: the disk is full"):
        unpack(make_zip(tmp_path / "x.zip", {"a/file": b"x"}), tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.zip"):
        unpack(tmp_path / "none.zip", tmp_path)
