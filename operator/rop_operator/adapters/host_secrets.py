"""Secrets of a plain host: systemd credentials `NAME.KEY`, then files DIR/NAMESPACE/NAME/KEY of mode 0600."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from rop_operator.ports import PortError

MAX_SECRET = 64 * 1024
_SEGMENT = re.compile(r"[-._a-zA-Z0-9]{1,253}")


class HostSecrets:
    """`Secrets` below `folder`; `environment` tells where systemd put its credentials."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        self._folder = folder
        credentials = given.get("CREDENTIALS_DIRECTORY")
        self._credentials = Path(credentials) if credentials else None

    async def read(self, namespace: str, name: str, key: str) -> bytes:
        """The value. PortError: SecretNotFound, SecretKeyMissing, SecretInvalid."""
        for part in (namespace, name, key):
            if not _SEGMENT.fullmatch(part) or part in (".", ".."):
                raise PortError("SecretInvalid", f"secret {name}, key {key}: not a name")
        if self._credentials is not None:
            credential = self._credentials / f"{name}.{key}"
            if credential.is_file():
                return _bounded(credential.read_bytes(), name, key)
        return self._file(namespace, name, key)

    def _file(self, namespace: str, name: str, key: str) -> bytes:
        folder = self._folder / namespace / name
        if not folder.is_dir():
            remedy = f"ropctl -n {namespace} secret set {name} {key} < FILE"
            raise PortError("SecretNotFound", f"no secret {name} in namespace {namespace}; {remedy}")
        try:
            descriptor = os.open(folder / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise PortError("SecretKeyMissing", f"secret {name} has no key {key}") from None
        except OSError as error:
            raise PortError("SecretInvalid", f"secret {name}, key {key}: {error.strerror}") from None
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise PortError("SecretInvalid", f"secret {name}, key {key}: not a regular file")
            if mode & 0o077:
                raise PortError("SecretInvalid", f"secret {name}, key {key}: others may read it; chmod 600")
            return _bounded(os.read(descriptor, MAX_SECRET + 1), name, key)
        finally:
            os.close(descriptor)


def _bounded(value: bytes, name: str, key: str) -> bytes:
    if len(value) > MAX_SECRET:
        raise PortError("SecretInvalid", f"secret {name}, key {key}: larger than {MAX_SECRET} bytes")
    return value


def misplaced(folder: Path, documents: Path) -> str | None:
    """Why secrets may not lie in `folder`: below the documents, or in a Git work tree. None when they may."""
    own = folder.resolve()
    if own == documents.resolve() or documents.resolve() in own.parents:
        return f"{folder} lies below the documents ({documents})"
    for parent in (own, *own.parents):
        if (parent / ".git").exists():
            return f"{folder} lies in the Git work tree {parent}"
    return None
