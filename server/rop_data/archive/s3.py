"""Archives in a bucket of an S3-compatible service. Only PutObject, GetObject and ListBucket; DeleteObject is used
with the credentials of a prune alone.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.policy import S3Place
from rop_data.archive.target import MAX_ARCHIVE, SUFFIX, Listed
from rop_data.egress import Forbidden, NotReached, Outgoing, TooMuch

MAX_LISTED = 100_000
# Bytes of an answer that is no archive.
MAX_LISTING = 16 * 1024 * 1024
EXCHANGE_S = 300.0
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "InvalidToken"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "StorageFull", "InsufficientStorage", "EntityTooLarge"}
_UNREACHABLE = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"}
_MEMBERS = ("accessKey", "secretKey", "sessionToken")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of an S3 account. They never show in a repr."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def encode(self) -> str:
        """The text of the secret file."""
        values = (self.access_key, self.secret_key, self.session_token)
        return json.dumps({name: value for name, value in zip(_MEMBERS, values, strict=True) if value})


def decode_credentials(raw: Any) -> Credentials:
    """From `{accessKey, secretKey, sessionToken?}`. Raises ValueError, which holds no secret."""
    if not isinstance(raw, dict) or not set(raw) <= set(_MEMBERS):
        raise ValueError(f"must be an object of {', '.join(_MEMBERS)}")
    for name in _MEMBERS:
        value = raw.get(name)
        if value is None and name == "sessionToken":
            continue
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 4096:
            raise ValueError(f"{name} must be text of 1 to 4096 printable characters")
    return Credentials(raw["accessKey"], raw["secretKey"], raw.get("sessionToken"))


class S3Target:
    """A bucket. `loopback` permits a service on this machine."""

    def __init__(
        self, place: S3Place, credentials: Credentials, loopback: bool = False, seconds: float = EXCHANGE_S
    ) -> None:
        self._place = place
        self._credentials = credentials
        self._loopback = loopback
        self._seconds = seconds
        self._shown = f"{place.endpoint}/{place.bucket}"

    def _client(self, limit: int = MAX_LISTING) -> Minio:
        scheme, _, host = self._place.endpoint.partition("://")
        keys = self._credentials
        return Minio(
            endpoint=host,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            session_token=keys.session_token,
            secure=scheme == "https",
            region=self._place.region,
            http_client=Outgoing(self._place.ca_pem, self._loopback, limit, self._seconds),
        )

    def _key(self, name: str) -> str:
        return f"{self._place.prefix}/{name}" if self._place.prefix else name

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Failures by what a person can do about them; nothing that the service said is repeated but its code."""
        try:
            yield
        except S3Error as failure:
            code = failure.code or "unknown"
            raise ArchiveError(_reason(code), f"{self._shown} answered {code[:64]}") from None
        except (InvalidResponseError, ServerError) as failure:
            status = getattr(failure, "status_code", None) or getattr(failure, "_code", None)
            raise ArchiveError(_of_status(status), f"{self._shown} answered {status}") from None
        except Forbidden as failure:
            raise ArchiveError(Reason.TARGET_REFUSED, str(failure)) from None
        except (NotReached, TooMuch) as failure:
            raise ArchiveError(Reason.TARGET_UNREACHABLE, f"{self._shown}: {failure}") from None
        except Exception as failure:  # whatever a strange answer does to the client library
            text = f"{self._shown}: {type(failure).__name__}"
            raise ArchiveError(Reason.TARGET_UNREACHABLE, text) from None

    def names(self, prefix: str = "") -> list[Listed]:
        """See `Target`."""
        found: list[Listed] = []
        skip = len(self._key(""))
        with self._told():
            listed = self._client().list_objects(self._place.bucket, self._key(prefix), recursive=True)
            for each in listed:
                name = (each.object_name or "")[skip:]
                if name.endswith(SUFFIX) and "/" not in name:
                    found.append(Listed(name, each.size or 0))
                if len(found) > MAX_LISTED:
                    raise TooMuch("too many objects")
        return sorted(found, key=lambda each: each.name)

    def get(self, name: str) -> bytes:
        """See `Target`."""
        with self._told():
            answer = self._client(MAX_ARCHIVE).get_object(self._place.bucket, self._key(name))
            return bytes(answer.read())

    def put(self, name: str, data: bytes) -> None:
        """See `Target`. A name that is taken is refused: with add-only credentials nothing could put it back."""
        if self.names(name):
            raise ArchiveError(Reason.TARGET, f"{self._shown} has {name}; nothing was overwritten")
        with self._told():
            # One PutObject (the part is at least as large): an object is there whole or not at all.
            self._client().put_object(
                self._place.bucket, self._key(name), io.BytesIO(data), len(data), part_size=MAX_ARCHIVE
            )

    def remove(self, name: str) -> None:
        """See `Target`. In a versioned bucket earlier versions stay."""
        with self._told():
            self._client().remove_object(self._place.bucket, self._key(name))


def _reason(code: str) -> Reason:
    if code in _REFUSED:
        return Reason.TARGET_REFUSED
    if code in _FULL:
        return Reason.TARGET_FULL
    return Reason.TARGET_UNREACHABLE if code in _UNREACHABLE else Reason.TARGET


def _of_status(status: object) -> Reason:
    if status in (401, 403):
        return Reason.TARGET_REFUSED
    if status == 507:
        return Reason.TARGET_FULL
    return Reason.TARGET_UNREACHABLE
