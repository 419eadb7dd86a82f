"""The firmware folder: whole files or none, bounds, plain names. Source: discrepancies C2.9, C5.6."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rop_data.firmware import FirmwareError, FirmwareFile, FirmwareStore, Limits, receiving


@pytest.fixture
def store(tmp_path: Path) -> FirmwareStore:
    return FirmwareStore(tmp_path / "deep" / "firmware")


def put(store: FirmwareStore, name: str, data: bytes) -> FirmwareFile:
    with receiving(store, name) as upload:
        upload.write(data[:3])
        upload.write(data[3:])
        return upload.finish()


def test_an_upload_is_there_whole_with_its_hash(store: FirmwareStore) -> None:
    data = os.urandom(100_000)
    made = put(store, "E1 Pro_v3.1-0.pak", data)
    assert (made.size, made.sha256) == (100_000, hashlib.sha256(data).hexdigest())
    assert store.files() == [made]
    assert [each.name for each in store.folder.iterdir()] == ["E1 Pro_v3.1-0.pak"]
    assert (store.folder / made.name).stat().st_mode & 0o077 == 0
    with store.open(made.name) as file:
        assert file.read() == data


def test_nothing_is_left_of_an_upload_that_broke_off(store: FirmwareStore) -> None:
    with pytest.raises(ConnectionError), receiving(store, "a.pak") as upload:
        upload.write(b"half")
        raise ConnectionError
    assert list(store.folder.iterdir()) == []
    assert put(store, "a.pak", b"whole").size == 5


def test_what_a_killed_process_left_is_swept(store: FirmwareStore) -> None:
    store.begin("a.pak").write(b"half")
    assert [each.name[:7] for each in store.folder.iterdir()] == [".a.pak."]
    assert store.files() == []
    FirmwareStore(store.folder).sweep()
    assert list(store.folder.iterdir()) == []


def test_no_file_is_ever_replaced(store: FirmwareStore) -> None:
    put(store, "a.pak", b"first")
    with pytest.raises(FirmwareError) as refused:
        store.begin("a.pak")
    assert refused.value.symbol == "duplicate_firmware"

    def race(number: int) -> str:
        try:
            with receiving(store, "race.pak") as upload:
                upload.write(b"%d" % number * 1000)
                upload.finish()
            return "ok"
        except FirmwareError as error:
            return error.symbol

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(race, range(8)))
    assert sorted(results) == ["duplicate_firmware"] * 7 + ["ok"]
    winner = results.index("ok")
    assert (store.folder / "race.pak").read_bytes() == b"%d" % winner * 1000


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a.pak", "a/b.pak", "../a.pak", "a\0.pak", "ä.pak", "a\n.pak", "a" * 256]
)
def test_only_plain_names(store: FirmwareStore, name: str) -> None:
    with pytest.raises(FirmwareError) as refused:
        store.begin(name)
    assert refused.value.symbol == "invalid_filename"
    for look in (store.open, store.delete):
        with pytest.raises(FirmwareError) as missing:
            look(name)
        assert missing.value.symbol == "file_not_found"


def test_only_regular_files_are_read(store: FirmwareStore, tmp_path: Path) -> None:
    store.folder.mkdir(parents=True)
    (tmp_path / "secret.pak").write_bytes(b"secret")
    (store.folder / "link.pak").symlink_to(tmp_path / "secret.pak")
    (store.folder / "folder.pak").mkdir()
    os.mkfifo(store.folder / "pipe.pak")
    assert store.files() == []
    for name in ("link.pak", "folder.pak", "pipe.pak", "absent.pak"):
        with pytest.raises(FirmwareError):
            store.open(name)


@pytest.mark.parametrize(
    "limits",
    [Limits(file=10), Limits(total=18), Limits(files=1), Limits(free=2**60)],
    ids=["file", "total", "files", "free"],
)
def test_limits_are_kept(tmp_path: Path, limits: Limits) -> None:
    store = FirmwareStore(tmp_path, limits)
    (tmp_path / "by-hand.pak").write_bytes(b"x" * 8)
    with pytest.raises(FirmwareError) as refused:
        put(store, "a.pak", b"y" * 11)
    assert refused.value.symbol == "invalid_parameter"
    assert [each.name for each in tmp_path.iterdir()] == ["by-hand.pak"]


def test_uploads_at_the_same_time_share_the_quota(tmp_path: Path) -> None:
    store = FirmwareStore(tmp_path, Limits(total=10))
    with receiving(store, "a.pak") as first, receiving(store, "b.pak") as second:
        first.write(b"x" * 6)
        with pytest.raises(FirmwareError):
            second.write(b"y" * 6)
        second.write(b"y" * 4)
        first.finish()
    assert put(store, "c.pak", b"z" * 4).size == 4
    with pytest.raises(FirmwareError):
        put(store, "d.pak", b"z")


def test_a_deleted_file_stays_readable_for_who_has_it_open(store: FirmwareStore) -> None:
    put(store, "a.pak", b"content")
    with store.open("a.pak") as file:
        store.delete("a.pak")
        assert file.read() == b"content"
    assert store.files() == []


def test_a_hand_placed_file_is_hashed_again_when_it_changes(store: FirmwareStore) -> None:
    store.folder.mkdir(parents=True)
    path = store.folder / "a.pak"
    for data in (b"one", b"three"):
        path.write_bytes(data)
        assert store.files()[0].sha256 == hashlib.sha256(data).hexdigest()
