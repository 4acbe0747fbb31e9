"""Files are there as a whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fedlab.files import make_private, whole_file, write_new_private, write_whole


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_whole(file, "old")
    with whole_file(file) as unfinished:
        unfinished.write_text("new, ä", encoding="utf-8")
        assert file.read_text() == "old"
    assert file.read_text(encoding="utf-8") == "new, ä"
    write_whole(file, b"\x00\xff", shared=True)
    assert file.read_bytes() == b"\x00\xff"
    assert [*tmp_path.iterdir()] == [file]


def test_the_bytes_are_on_the_disk_before_they_have_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    write_whole(file, "old")
    written: list[tuple[str, str]] = []

    def fsync(number: int) -> None:
        seen = Path(f"/proc/self/fd/{number}").resolve()
        written.append((seen.name, file.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(file, "new")
    write_new_private(tmp_path / "key", b"1")
    assert written == [("a.json.unfinished", "old"), ("key", "new")]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_whole(file, "old")
    with pytest.raises(TypeError), whole_file(file) as unfinished:
        unfinished.write_text(7)  # type: ignore[arg-type]
    assert file.read_text() == "old"
    assert [*tmp_path.iterdir()] == [file]


def test_processes_that_share_a_file_do_not_share_the_unfinished_one(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with whole_file(file, shared=True) as one, whole_file(file, shared=True) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert file.read_text() == "one"  # the one that ends last


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_is_its_owners_alone_from_its_first_byte_on(tmp_path: Path) -> None:
    file = tmp_path / "key"
    (tmp_path / "key.unfinished").write_text("left by a killed process, for everybody to read")
    with whole_file(file, private=True) as unfinished:
        assert (mode(unfinished), unfinished.read_bytes()) == (0o600, b"")
        unfinished.write_text("secret")
    assert (mode(file), file.read_text()) == (0o600, "secret")
    write_new_private(tmp_path / "new", b"1")
    assert mode(tmp_path / "new") == 0o600
    with pytest.raises(FileExistsError):
        write_new_private(tmp_path / "new", b"2")
    make_private(tmp_path)
    assert mode(tmp_path) == 0o700
