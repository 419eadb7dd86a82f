"""Documents of a plain host: files are what is wanted, the last accepted version is what is served."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rop_operator.adapters.host_database import HostDatabase, StateError
from rop_operator.adapters.host_store import SETTLE_SECONDS, HostStore
from rop_operator.api.facts import Ref
from rop_operator.errors import DocumentsRefused
from rop_operator.ports import PortError

HOME = Ref("RopServer", "default", "home")
DOOR = Ref("Camera", "default", "door")
YARD = Ref("Camera", "default", "yard")
FINALIZER = "rop.dev/revoke"


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def settle(self) -> None:
        self.now += SETTLE_SECONDS


def server(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "RopServer",
        "metadata": {"name": "home"},
        "spec": {"host": "192.0.2.1", **spec},
    }


def camera(name: str = "door", uid: str = "95270001ABCDEFGH", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": "Camera",
        "metadata": {"name": name},
        "spec": {"serverRef": {"name": "home"}, "uid": uid, **spec},
    }


def write(folder: Path, name: str, *documents: dict[str, Any]) -> None:
    (folder / name).write_text(yaml.safe_dump_all(documents))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "fleet"
    made.mkdir()
    return made


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def open_store(tmp_path: Path, folder: Path, time: Time) -> Callable[[], HostStore]:
    def opened() -> HostStore:
        store = HostStore(folder, HostDatabase(tmp_path / "agent.db"), clock=time)
        store.rescan()
        return store

    return opened


def gone(store: HostStore, time: Time) -> None:
    """Scan twice with the settling time between."""
    store.rescan()
    time.settle()
    store.rescan()


async def drain(store: HostStore) -> list[Ref]:
    """The refs that `changes` has now."""
    found: list[Ref] = []
    stream = store.changes()
    with contextlib.suppress(TimeoutError):
        while True:
            found.append(await asyncio.wait_for(anext(stream), 0.05))
    return found


async def test_files_become_documents_and_survive_a_restart(folder: Path, open_store: Any) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    first = await store.get(DOOR)
    assert first is not None
    assert (first.generation, first.spec["uid"], first.finalizers) == (1, "95270001ABCDEFGH", ())
    await store.put_status(first, {"state": "Online"})
    await store.set_finalizer(first, FINALIZER, True)
    again = await open_store().get(DOOR)
    assert again is not None
    assert (again.uid, again.status, again.finalizers) == (first.uid, {"state": "Online"}, (FINALIZER,))
    assert again.created == first.created.replace(microsecond=0)


async def test_generation_counts_changes_of_the_spec_only(folder: Path, open_store: Any) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    await drain(store)
    document = camera()
    document["metadata"]["annotations"] = {"rop.dev/requestedAt": "2026-01-01T00:00:00Z"}
    write(folder, "all.yaml", server(), document)
    store.rescan()
    assert (await store.get(DOOR)).generation == 1
    assert await drain(store) == [DOOR]
    write(folder, "all.yaml", server(), camera(displayName="Front door"))
    store.rescan()
    assert (await store.get(DOOR)).generation == 2
    assert await drain(store) == [DOOR]
    store.rescan()
    assert await drain(store) == []


async def test_a_status_is_no_change_for_the_engine(folder: Path, open_store: Any) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    await drain(store)
    await store.put_status(await store.get(DOOR), {"state": "Online"})
    assert await drain(store) == []


async def test_a_broken_file_keeps_every_accepted_version(folder: Path, open_store: Any, time: Time) -> None:
    write(folder, "all.yaml", server(), camera(displayName="Old"))
    write(folder, "more.yaml", camera("yard", "95270001ABCDEFGY"))
    store = open_store()
    write(folder, "all.yaml", server(), camera(displayName="New"), camera("bad", "short"))
    (folder / "more.yaml").unlink()
    gone(store, time)
    assert (await store.get(DOOR)).spec["displayName"] == "Old"
    assert await store.get(YARD) is not None, "nothing is deleted while a file is broken"
    assert await store.get(Ref("Camera", "default", "bad")) is None
    (error,) = store.scan.errors()
    assert (error.file, error.field) == ("all.yaml", "spec.uid")
    told = store.events("Camera", "default", "door")
    assert [e["reason"] for e in told] == ["DocumentRefused"]
    store.rescan()
    assert store.events("Camera", "default", "door") == told, "told once"


async def test_a_fixed_member_that_changes_refuses_the_file(folder: Path, open_store: Any) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    write(folder, "all.yaml", server(host="192.0.2.2"), camera(uid="95270001ABCDEFGX"))
    store.rescan()
    assert (await store.get(DOOR)).spec["uid"] == "95270001ABCDEFGH"
    assert (await store.get(HOME)).spec["host"] == "192.0.2.1", "all of the file or nothing"
    assert "uid cannot be changed" in str(store.scan.errors()[0])


async def test_one_object_in_two_files_is_refused_in_both(folder: Path, open_store: Any, time: Time) -> None:
    write(folder, "a.yaml", server(), camera(displayName="Old"))
    store = open_store()
    write(folder, "a.yaml", server(), camera(displayName="A"))
    write(folder, "b.yaml", camera(displayName="B"))
    gone(store, time)
    assert (await store.get(DOOR)).spec["displayName"] == "Old"
    assert {e.file for e in store.scan.errors()} == {"a.yaml", "b.yaml"}
    (folder / "b.yaml").unlink()
    store.rescan()
    assert (await store.get(DOOR)).spec["displayName"] == "A"


async def test_a_removed_document_goes_after_it_settled(folder: Path, open_store: Any, time: Time) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    write(folder, "all.yaml", server())
    store.rescan()
    assert await store.get(DOOR) is not None, "an editor may be writing"
    time.settle()
    store.rescan()
    assert await store.get(DOOR) is None


async def test_a_finalizer_holds_and_putting_it_back_cancels(folder: Path, open_store: Any, time: Time) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    await store.set_finalizer(await store.get(DOOR), FINALIZER, True)
    write(folder, "all.yaml", server())
    gone(store, time)
    assert (await store.get(DOOR)).deleting is not None
    write(folder, "all.yaml", server(), camera())
    store.rescan()
    assert (await store.get(DOOR)).deleting is None
    write(folder, "all.yaml", server())
    gone(store, time)
    await drain(store)
    await store.set_finalizer(await store.get(DOOR), FINALIZER, False)
    assert await store.get(DOOR) is None
    assert await drain(store) == [DOOR]


async def test_a_server_goes_only_when_that_was_acknowledged(folder: Path, open_store: Any, time: Time) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    write(folder, "all.yaml", camera())
    gone(store, time)
    store.rescan()
    assert await store.get(HOME) is not None
    (event,) = store.events("RopServer", "default", "home")
    assert (event["reason"], event["count"]) == ("AcknowledgementMissing", 1)
    assert "DeleteServer" in event["message"]
    write(folder, "all.yaml", server(acknowledge=[{"edge": "DeleteServer", "value": "home"}]), camera())
    store.rescan()
    write(folder, "all.yaml", camera())
    gone(store, time)
    assert await store.get(HOME) is None


@pytest.mark.parametrize("how", ["missing", "empty"])
async def test_no_files_at_all_delete_nothing(folder: Path, open_store: Any, time: Time, how: str) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    (folder / "all.yaml").unlink()
    if how == "missing":
        folder.rmdir()
    gone(store, time)
    time.settle()
    store.rescan()
    assert store.source == "Missing"
    assert await store.get(DOOR) is not None
    assert [e["reason"] for e in store.events("RopServer", None, None)] == ["SourceMissing"]
    with pytest.raises(PortError) as refused:
        store.apply([camera("yard", "95270001ABCDEFGY")], "-")
    assert refused.value.reason == "SourceMissing"
    assert not list(folder.glob("*"))
    folder.mkdir(exist_ok=True)
    write(folder, "all.yaml", server(), camera())
    store.rescan()
    assert store.source == "Ok"


async def test_apply_writes_one_file_each_and_tells_what_it_did(folder: Path, open_store: Any) -> None:
    store = open_store()
    results = store.apply([server(), camera()], "fleet.yaml")
    assert results == [(HOME, "created"), (DOOR, "created")]
    assert sorted(p.name for p in folder.iterdir()) == ["default.camera.door.yaml", "default.ropserver.home.yaml"]
    assert store.apply([server(), camera()], "-") == [(HOME, "unchanged"), (DOOR, "unchanged")]
    assert store.apply([camera(displayName="Front")], "-") == [(DOOR, "configured")]
    assert (await store.get(DOOR)).spec["displayName"] == "Front"


@pytest.mark.parametrize("uid", ["0123456789012345", "9527000000001E12", "952700000000000Y", "0X12345678901234"])
async def test_texts_that_look_like_something_else_survive_apply(open_store: Any, uid: str) -> None:
    store = open_store()
    store.apply([server(), camera(uid=uid, displayName="NO")], "-")
    document = await store.get(DOOR)
    assert (document.spec["uid"], document.spec["displayName"]) == (uid, "NO")


async def test_apply_is_all_or_nothing_and_lists_every_error(folder: Path, open_store: Any) -> None:
    store = open_store()
    store.apply([server(), camera()], "-")
    with pytest.raises(DocumentsRefused) as refused:
        store.apply(
            [
                camera("yard", "95270001ABCDEFGY"),
                camera(uid="95270001ABCDEFGX"),
                {"kind": "Pod", "apiVersion": "v1"},
            ],
            "f.yaml",
        )
    told = [(e.file, e.field) for e in refused.value.errors]
    assert told == [("f.yaml", "apiVersion"), ("f.yaml", "spec.uid")]
    assert await store.get(YARD) is None
    assert (await store.get(DOOR)).spec["uid"] == "95270001ABCDEFGH"


async def test_apply_leaves_files_with_more_objects_to_their_author(folder: Path, open_store: Any) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    assert store.apply([camera()], "-") == [(DOOR, "unchanged")]
    with pytest.raises(DocumentsRefused, match=r"Camera/default/door is written in all\.yaml .* edit it there"):
        store.apply([camera(displayName="Front")], "-")
    with pytest.raises(PortError, match=r"all\.yaml"):
        store.delete(DOOR)


async def test_delete_removes_the_file_and_the_last_one_too(folder: Path, open_store: Any) -> None:
    store = open_store()
    store.apply([camera()], "-")
    assert store.delete(DOOR)
    assert await store.get(DOOR) is None
    assert not list(folder.iterdir())
    assert store.delete(DOOR) is False


async def test_watch_tells_what_changed_since(folder: Path, open_store: Any) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    start = (await store.watch(0, 0))["next"]
    waiting = asyncio.create_task(store.watch(start, 30))
    await asyncio.sleep(0)
    await store.put_status(await store.get(DOOR), {"state": "Online"})
    answer = await asyncio.wait_for(waiting, 5)
    assert answer["refs"] == [str(DOOR)]
    assert answer["next"] > start
    assert (await store.watch(answer["next"] + 100, 0))["reset"] is True


async def test_files_are_followed(folder: Path, open_store: Any) -> None:
    write(folder, "all.yaml", server(), camera())
    store = open_store()
    await drain(store)
    stop = asyncio.Event()
    following = asyncio.create_task(store.follow(stop))
    stream = store.changes()
    waiting = asyncio.create_task(anext(stream))
    for number in range(100):
        write(folder, "all.yaml", server(), camera(displayName=f"Door {number}"))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        if done:
            break
    assert waiting.result() == DOOR
    stop.set()
    await asyncio.wait_for(following, 10)


def test_hidden_files_and_other_suffixes_are_left_out(folder: Path, open_store: Any) -> None:
    write(folder, ".hidden.yaml", server())
    write(folder, "notes.txt", server())
    (folder / ".git").mkdir()
    write(folder / ".git", "x.yaml", server())
    (folder / "sub").mkdir()
    write(folder / "sub", "cam.yml", camera())
    assert [o["metadata"]["name"] for o in open_store().objects(None, None)] == ["door"]


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = HostDatabase(tmp_path / "agent.db")
    database.set_value("schema", "99")
    database.close()
    with pytest.raises(StateError, match="newer version"):
        HostDatabase(tmp_path / "agent.db")
    assert (tmp_path / "agent.db").stat().st_mode & 0o077 == 0
