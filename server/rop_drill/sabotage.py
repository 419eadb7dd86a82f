"""Every way a backup can be worthless, and the reason that a drill must give for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from rop_data.archive.items import LEDGER, SIGNER
from rop_data.archive.manifest import Entry
from rop_data.archive.target import DirectoryTarget
from rop_data.drill import NEWCOMER, WITNESS
from rop_drill import forge
from rop_drill.drill import Inputs
from rop_drill.forge import Files, Stage
from rop_drill.reasons import Reason
from rop_drill.source import Fetched, bucket, newest, of_file
from rop_pki import create_root
from rop_pki.envelope import new_identity, parse_identities
from rop_pki.signer import create_signer

Build = Callable[[Stage, Inputs, Path], Inputs]
"""From the stage, good inputs and an empty folder to the inputs of a drill that must turn red."""


@dataclass(frozen=True, slots=True)
class Sabotage:
    """One way. `expected`: any of these is right, () means green."""

    name: str
    expected: tuple[Reason, ...]
    build: Build


MISSING, INVALID, STALE = Reason.ITEM_MISSING, Reason.ITEM_INVALID, Reason.ARCHIVE_STALE
BROKEN, UNSIGNED = Reason.READ_BACK, Reason.SIGNATURE_INVALID
UNREACHABLE = Reason.TARGET_UNREACHABLE
_CERTIFICATES = ("rootCertificate", "intermediateCertificate", "intermediateKey")
_SINGLE = ("config", "settings", "state", "signer", "ledger", *_CERTIFICATES)


def every(stage: Stage) -> Iterator[Sabotage]:
    """All of them for this archive; the first is none: the control, which must be green."""
    yield Sabotage("control: nothing is spoiled", (), _items(lambda _: None))
    yield from _of_items(stage)
    yield from _of_secrets()
    yield from _of_age()
    yield from _of_bytes(stage)
    yield from _of_trust()
    yield from _of_targets()
    yield from _of_servers()


def _data(make: Callable[[Stage], bytes]) -> Build:
    def build(stage: Stage, good: Inputs, _: Path) -> Inputs:
        data = make(stage)
        return replace(good, fetch=lambda: Fetched(stage.name, data))

    return build


def _items(change: Callable[..., object], *arguments: object) -> Build:
    """Items changed by `change(files, *arguments)`."""
    return _data(lambda stage: forge.forge(stage, lambda files: change(files, *arguments)))


def _set(files: Files, path: str, data: bytes) -> None:
    files[path] = data


def _halve(files: Files, path: str) -> None:
    files[path] = files[path][: len(files[path]) // 2]


def _of_items(stage: Stage) -> Iterator[Sabotage]:
    single = stage.of_kind(*_SINGLE)
    serials = [path for path in stage.of_kind("serials") if not path.endswith("crlnumber")]
    for path in (*single, *serials):
        yield Sabotage(f"missing: {path}", (MISSING,), _items(forge.drop, path))
    for path in single:
        yield Sabotage(f"truncated: {path}", (INVALID, STALE), _items(_halve, path))
        yield Sabotage(f"empty: {path}", (INVALID,), _items(_set, path, b""))
    for path in stage.of_kind("config", "settings", "signer", *_CERTIFICATES):
        if path in stage.other:
            build = _items(_set, path, stage.other[path])
            yield Sabotage(f"of another server: {path}", (INVALID, STALE), build)


def _of_secrets() -> Iterator[Sabotage]:
    for name in ("authCode.signKey", "deviceAuth.deviceKeys", "deviceAuth.currentKeyIndex"):
        yield Sabotage(f"missing: {name}", (MISSING,), _items(forge.member, "config.json", name))
    sinks = [{"name": "lost", "urlFile": "secrets/lost.url"}]
    yield Sabotage(
        "missing: the address of an alarm sink",
        (MISSING,),
        _items(forge.member, "rop.json", "alarms.sinks", sinks),
    )

    def no_listener_key(files: Files) -> None:
        forge.drop(files, "manage/")
        forge.member(files, "rop.json", "management.listen", "127.0.0.1:9")

    yield Sabotage("missing: the key of the management listener", (MISSING,), _items(no_listener_key))
    for table in ("denied", "token", "certificate", "device"):
        build = _items(forge.state, f"DROP TABLE {table}")
        yield Sabotage(f"missing: the table {table} of state.db", (MISSING,), build)
    lost = (Reason.DENY_LIST_LOST,)
    yield Sabotage("lost: every entry of the deny list", lost, _items(forge.state, "DELETE FROM denied"))


def _of_age() -> Iterator[Sabotage]:
    old = _items(forge.member, "config.json", "authCode.signKey", "the-sign-key-before-its-rotation")
    yield Sabotage("stale: authCode.signKey", (STALE,), old)
    yield Sabotage("stale: the count of key generations", (STALE,), _items(_set, LEDGER, b"{}"))
    yield Sabotage("stale: made two days ago", (STALE,), _data(partial(_made, timedelta(days=-2))))
    yield Sabotage("stale: made in the future", (STALE,), _data(partial(_made, timedelta(days=2))))

    def older(stage: Stage, good: Inputs, folder: Path) -> Inputs:
        head, _, tail = stage.name.partition("-g")
        number, _, stamp = tail.partition("-")
        newer = f"{head}-g{int(number) + 1:04d}-20200101T000000Z.roparchive"
        for name in (f"{head}-g{number}-{stamp}", newer):
            (folder / name).write_bytes(stage.data)
        return replace(good, fetch=lambda: newest(DirectoryTarget(folder), good.expected))

    yield Sabotage("stale: newer keys lie beside it", (STALE,), older)


def _made(age: timedelta, stage: Stage) -> bytes:
    made = (datetime.now(UTC) + age).isoformat(timespec="seconds")
    return forge.forge(stage, lambda _: None, created=made)


def _flip(position: int, stage: Stage) -> bytes:
    spoiled = bytearray(stage.data)
    spoiled[position] ^= 1
    return bytes(spoiled)


def _of_bytes(stage: Stage) -> Iterator[Sabotage]:
    parts = {"header": b'"signer"', "body": stage.whole.body[-64:], "root key": stage.whole.root_key[-64:]}
    for part, mark in parts.items():
        position = stage.data.index(mark)
        expected = (UNSIGNED, BROKEN) if part == "header" else (BROKEN,)
        yield Sabotage(f"flipped bit: {part}", expected, _data(partial(_flip, position)))
    yield Sabotage("truncated: the archive", (BROKEN,), _data(lambda s: s.data[: len(s.data) // 2]))
    yield Sabotage("empty: the archive", (BROKEN,), _data(lambda _: b""))
    yield Sabotage(
        "truncated: right size, the rest zeros",
        (BROKEN,),
        _data(lambda s: s.data[: len(s.data) // 2].ljust(len(s.data), b"\0")),
    )

    def other_hash(entries: list[Entry]) -> list[Entry]:
        return [replace(entries[0], sha256="0" * 64), *entries[1:]]

    yield Sabotage(
        "tampered manifest: another hash", (INVALID,), _data(lambda s: forge.forge_manifest(s, other_hash))
    )
    yield Sabotage(
        "tampered manifest: an item less", (BROKEN,), _data(lambda s: forge.forge_manifest(s, lambda e: e[1:]))
    )
    yield Sabotage(
        "tampered manifest: a path outside",
        (BROKEN,),
        _items(_set, "../escaped", b"x"),
    )


def _of_trust() -> Iterator[Sabotage]:
    yield Sabotage("unsigned", (UNSIGNED,), _data(forge.unsigned))
    yield Sabotage("signed by somebody else", (UNSIGNED,), _data(lambda s: forge.resign(s, forge.stranger())))

    def claimed(stage: Stage) -> bytes:
        key = forge.stranger()
        return forge.resign(stage, key, signer=key.name)

    yield Sabotage("somebody else's archive", (Reason.FOREIGN_SIGNER,), _data(claimed))
    yield Sabotage(
        "missing: the signer, replaced by a new one",
        (INVALID,),
        _items(_set, SIGNER, create_signer()),
    )
    yield Sabotage(
        "of another server: the root CA",
        (Reason.FOREIGN_ROOT,),
        _data(lambda s: forge.resign(s, s.signer, root_sha256="0" * 64)),
    )

    def wrong(_: Stage, good: Inputs, __: Path) -> Inputs:
        return replace(good, identify=lambda: parse_identities(new_identity()))

    yield Sabotage("wrong recipient", (Reason.DECRYPT_FAILED,), wrong)


def _of_targets() -> Iterator[Sabotage]:
    def gone(_: Stage, good: Inputs, folder: Path) -> Inputs:
        return replace(good, fetch=lambda: newest(DirectoryTarget(folder / "unmounted"), good.expected))

    def nothing(_: Stage, good: Inputs, folder: Path) -> Inputs:
        return replace(good, fetch=lambda: newest(DirectoryTarget(folder), good.expected))

    def no_file(_: Stage, good: Inputs, folder: Path) -> Inputs:
        return replace(good, fetch=lambda: of_file(folder / "gone.roparchive"))

    def closed(_: Stage, good: Inputs, __: Path) -> Inputs:
        place = b'{"endpoint": "http://127.0.0.1:1", "bucket": "rop", "credentials": {"accessKey": "a",'
        target = bucket(place + b' "secretKey": "b"}}', loopback=True)
        return replace(good, fetch=lambda: newest(target, good.expected))

    yield Sabotage("target unreachable: not mounted", (UNREACHABLE,), gone)
    yield Sabotage("target unreachable: no such file", (UNREACHABLE,), no_file)
    yield Sabotage("target unreachable: S3", (UNREACHABLE,), closed)
    yield Sabotage("target without an archive", (Reason.BACKUP_MISSING,), nothing)


def _of_servers() -> Iterator[Sabotage]:
    """What a whole and trusted archive hides until cameras try it."""

    def other_key(files: Files) -> None:
        forge.member(files, "config.json", "authCode.signKey", "a-sign-key-no-camera-knows")
        forge.settle(files)

    yield Sabotage("signKey that no camera knows", (Reason.RENEWAL_REFUSED,), _items(other_key))

    def other_root(_: Stage, good: Inputs, __: Path) -> Inputs:
        root = create_root(datetime.now(UTC))[1].decode()
        return replace(good, camera=replace(good.camera, root_pem=root))

    def other_host(_: Stage, good: Inputs, __: Path) -> Inputs:
        return replace(good, camera=replace(good.camera, host="another.invalid"))

    def fault(word: str) -> Build:
        return lambda _, good, __: replace(good, faults=(word,))

    def tamper(statement: str) -> Build:
        return lambda _, good, __: replace(good, tamper=lambda root: forge.alter(root, statement))

    untrusted = (Reason.SERVER_NOT_TRUSTED,)
    yield Sabotage("cameras pin another root", untrusted, other_root)
    yield Sabotage("cameras know another host", untrusted, other_host)
    yield Sabotage("commands fail", (Reason.COMMAND_FAILED,), fault("refuse-all=400"))
    yield Sabotage("streams fail", (Reason.STREAM_FAILED,), fault("stream-refuse=400"))
    yield Sabotage(
        "state.db of a newer program",
        (Reason.SERVER_FAILED,),
        tamper("PRAGMA user_version = 999"),
    )
    yield Sabotage(
        "nobody new may enrol",
        (Reason.ENROLMENT_REFUSED,),
        tamper(f"INSERT INTO denied VALUES ('{NEWCOMER}', 1)"),  # noqa: S608 - a constant
    )
    yield Sabotage(
        "a server that forgets the deny list",
        (Reason.DENY_LIST_LOST,),
        tamper(f"DELETE FROM denied WHERE uid = '{WITNESS}'"),  # noqa: S608 - a constant
    )
