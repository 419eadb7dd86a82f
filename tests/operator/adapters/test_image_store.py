"""Firmware files by their hash: from a real web server, or as a person brings them."""

import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rop_operator.adapters import image_store
from rop_operator.adapters.image_store import ImageStore
from rop_operator.ports import PortError

CONTENT = b"firmware" * 100_000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Web(BaseHTTPRequestHandler):
    """/file has it, /moved points to it, /cut ends in the middle, anything else is not there."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        if self.path not in ("/file", "/cut"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/file" else CONTENT[:1000])

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


async def test_a_file_is_fetched_once_and_found_by_its_hash(web: str, tmp_path: Path) -> None:
    store = ImageStore(tmp_path, allow_loopback=True)
    assert store.find(SHA) is None
    path = await store.fetch(SHA, f"{web}/file")
    assert (path.read_bytes(), store.find(SHA)) == (CONTENT, path)
    assert await store.fetch(SHA, f"{web}/nothing") == path, "what is there is not asked for again"


@pytest.mark.parametrize(
    ("path", "reason", "said"),
    [
        ("moved", "FetchFailed", "302"),
        ("nothing", "FetchFailed", "404"),
        ("cut", "FetchFailed", "Payload"),
    ],
)
async def test_what_is_not_the_file_leaves_nothing(
    web: str, tmp_path: Path, path: str, reason: str, said: str
) -> None:
    with pytest.raises(PortError, match=said) as refused:
        await ImageStore(tmp_path, allow_loopback=True).fetch(SHA, f"{web}/{path}")
    assert refused.value.reason == reason
    assert names(tmp_path) == []


async def test_another_hash_is_refused_with_the_one_that_was_found(web: str, tmp_path: Path) -> None:
    with pytest.raises(PortError, match=SHA) as refused:
        await ImageStore(tmp_path, allow_loopback=True).fetch("00" * 32, f"{web}/file")
    assert refused.value.reason == "HashMismatch"
    assert names(tmp_path) == []


HERE = ["127.0.0.1", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254"]


@pytest.mark.parametrize("host", HERE)
async def test_this_machine_is_not_dialled(web: str, tmp_path: Path, host: str) -> None:
    port = web.rpartition(":")[2]
    with pytest.raises(PortError) as refused:
        await ImageStore(tmp_path).fetch(SHA, f"http://{host}:{port}/file")
    assert refused.value.reason in ("EgressRefused", "FetchFailed")
    assert names(tmp_path) == []


async def test_nobody_listening_is_told(tmp_path: Path) -> None:
    with pytest.raises(PortError) as refused:
        await ImageStore(tmp_path, allow_loopback=True).fetch(SHA, "http://127.0.0.1:1/file")
    assert refused.value.reason == "FetchFailed"


async def test_a_file_without_an_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "MAX_FILE", 1000)
    with pytest.raises(PortError) as refused:
        await ImageStore(tmp_path).receive(SHA, pieces(b"x" * 600, b"x" * 600))
    assert refused.value.reason == "TooLarge"
    assert names(tmp_path) == []


async def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "MIN_FREE", 1 << 62)
    with pytest.raises(PortError, match="No space left") as refused:
        await ImageStore(tmp_path).receive(SHA, pieces(CONTENT))
    assert refused.value.reason == "StoreFull"
    assert names(tmp_path) == []


async def test_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    await store.receive(SHA, pieces(CONTENT[:5], CONTENT[5:]))
    (tmp_path / ".incoming-abc").write_bytes(b"half")
    store.sweep()
    assert names(tmp_path) == [f"{SHA}.pak"]
