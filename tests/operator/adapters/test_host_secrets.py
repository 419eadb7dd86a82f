"""Secrets of a plain host: where they may lie and what is refused."""

from pathlib import Path

import pytest

from rop_operator.adapters.host_secrets import MAX_SECRET, HostSecrets, misplaced
from rop_operator.ports import PortError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "video" / "alarm").mkdir(parents=True)
    return tmp_path


def put(folder: Path, key: str, value: bytes, mode: int = 0o600) -> Path:
    path = folder / "video" / "alarm" / key
    path.write_bytes(value)
    path.chmod(mode)
    return path


async def test_a_file_is_read(folder: Path) -> None:
    put(folder, "url", b"https://example.net/hook")
    assert await HostSecrets(folder, {}).read("video", "alarm", "url") == b"https://example.net/hook"


async def test_a_systemd_credential_comes_first(folder: Path, tmp_path: Path) -> None:
    put(folder, "url", b"file")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "alarm.url").write_bytes(b"credential")
    secrets = HostSecrets(folder, {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert await secrets.read("video", "alarm", "url") == b"credential"


@pytest.mark.parametrize(
    ("name", "key", "reason"),
    [
        ("other", "url", "SecretNotFound"),
        ("alarm", "none", "SecretKeyMissing"),
        ("alarm", "open", "SecretInvalid"),
        ("alarm", "link", "SecretInvalid"),
        ("alarm", "huge", "SecretInvalid"),
        ("alarm", "folder", "SecretInvalid"),
        ("..", "url", "SecretInvalid"),
        ("alarm", "../alarm/url", "SecretInvalid"),
    ],
)
async def test_what_is_refused_says_why(folder: Path, name: str, key: str, reason: str) -> None:
    target = put(folder, "url", b"secret-value")
    put(folder, "open", b"secret-value", 0o640)
    put(folder, "huge", b"x" * (MAX_SECRET + 1))
    (folder / "video" / "alarm" / "folder").mkdir()
    (folder / "video" / "alarm" / "link").symlink_to(target)
    with pytest.raises(PortError) as refused:
        await HostSecrets(folder, {}).read("video", name, key)
    assert refused.value.reason == reason
    assert "secret-value" not in refused.value.message


def test_secrets_do_not_lie_among_documents_or_in_git(tmp_path: Path) -> None:
    documents = tmp_path / "fleet"
    (documents / "secrets").mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    assert "below the documents" in str(misplaced(documents / "secrets", documents))
    assert "Git work tree" in str(misplaced(tmp_path / "repo" / "secrets", documents))
    assert misplaced(tmp_path / "secrets", documents) is None
