"""The root is replaced under real cameras: none is visited, none is refused, and each step can be taken back."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rop_pki import fingerprint
from rop_wire.auth import ca_hash

CANARY, OLD, NEW = "CANARY0000000001", "OLDROOT000000001", "NEWROOT000000001"
TLS_PORTS = ("getCAHttps", "getCertHttps", "registerHttps", "signalingTLS", "streamTLS")


class Rotation:
    """Orders for one server."""

    def __init__(self, site: Any) -> None:
        self._site = site
        self._fence = site.manage("PUT", "/manager", {"id": "contract", "takeOver": True})[1]["fence"]

    def order(self, step: str, **more: Any) -> tuple[int, Any]:
        body = {"step": step, "toGeneration": 2, **more}
        told: tuple[int, Any] = self._site.manage(
            "POST", f"/rotations/Root?fence={self._fence}", body, Rop_Manager="contract"
        )
        return told

    def take(self, *steps: str, **more: Any) -> None:
        for step in steps:
            status, told = self.order(step, **more)
            assert status == 200, (step, told)

    def refused(self, step: str, **more: Any) -> str:
        status, told = self.order(step, **more)
        assert status == 409, told
        symbol: str = told["error"]["symbol"]
        return symbol

    @property
    def state(self) -> dict[str, Any]:
        items = self._site.manage("GET", "/rotations")[1]["items"]
        found: dict[str, Any] = next(each for each in items if each["item"] == "Root")
        return found


@pytest.fixture
def rotation(site: Any) -> Rotation:
    return Rotation(site)


def root(site: Any) -> str:
    path: Path = site.data / "certs/ECC/Root/ca.pem"
    return path.read_text()


def openssl(site: Any, folder: Path, port: str, pinned: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A handshake with strict verification against this root alone."""
    (folder / "pinned.pem").write_text(pinned)
    how = ("-x509_strict", "-verify_return_error", "-no-CApath", "-no-CAstore", "-CAfile", "pinned.pem")
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{site.ports[port]}", *how, "-showcerts", *more],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        text=True,
        timeout=30,
        check=False,
    )


def trusted(site: Any, folder: Path, pinned: str) -> bool:
    """Whether who pins this root accepts the server on every TLS port, with OpenSSL; the same answer on all."""
    answers = {openssl(site, folder, port, pinned).returncode == 0 for port in ("getCAHttps", "getCertHttps")}
    for port in TLS_PORTS[2:]:  # they ask for a certificate of ours, after the server's was verified
        answers.add("verify error" not in openssl(site, folder, port, pinned).stderr)
    assert len(answers) == 1
    return answers.pop()


def trusted_by_gnutls(site: Any, folder: Path, pinned: str) -> bool:
    (folder / "pinned.pem").write_text(pinned)
    done = subprocess.run(
        ["gnutls-cli", "--x509cafile", "pinned.pem", "-p", str(site.ports["getCertHttps"]), "127.0.0.1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        text=True,
        timeout=30,
        check=False,
    )
    return "Status: The certificate is trusted." in done.stdout


def chain_length(site: Any, folder: Path, address: str) -> int:
    """How many certificates are presented to who comes from this address."""
    told = openssl(site, folder, "getCertHttps", root(site), "-bind", address).stdout
    return told.count("-----BEGIN CERTIFICATE-----")


@pytest.fixture
def comes_back(site: Any, poll: Callable[..., Any]) -> Callable[[Any], None]:
    """See that a camera, disconnected, verifies the server and comes again."""

    def again(camera: Any) -> None:
        def connected() -> Any:
            found = site.manage("GET", f"/devices/{camera.uid}")[1]
            return found["connectedAt"] if found["state"] == "Online" else None

        before = poll(f"{camera.uid} is online", connected)
        camera.ctl("disconnect")
        poll(f"{camera.uid} is back", lambda: (connected() or before) != before)

    return again


def test_nobody_is_visited_and_nobody_refused(
    site: Any, rotation: Rotation, joined: Any, poll: Any, comes_back: Any, tmp_path: Path
) -> None:
    first = root(site)
    old, canary = joined(OLD), joined(CANARY)
    rotation.take("Prepare", "CrossSign")
    assert chain_length(site, tmp_path, "127.0.0.1") == 2

    rotation.take("Canary", canary=[CANARY])
    assert rotation.refused("Roll") == "canary_lost"
    assert chain_length(site, tmp_path, "127.0.0.1") == 3, "where the canary comes from"
    assert chain_length(site, tmp_path, "127.0.0.2") == 2, "elsewhere"
    old.ctl("renew")
    assert rotation.state["done"] == 0, "who is no canary got a certificate of the old one"
    canary.ctl("renew")
    poll("the canary is back", lambda: rotation.state["done"] == 1)

    rotation.take("Roll")
    second = root(site)
    assert second != first
    assert site.session(NEW)["caHash"] == ca_hash(second)
    new = joined(NEW)
    assert (new.identity()["ca"], old.identity()["ca"]) == (second, first)
    for pinned in (first, second):
        assert trusted(site, tmp_path, pinned)
        assert trusted_by_gnutls(site, tmp_path, pinned)
    for camera in (old, canary, new):
        comes_back(camera)

    rotation.take("Observe")
    assert rotation.refused("Retire") == "still_needed"
    assert rotation.state["detail"]["holdersNamed"] == [OLD]
    former = old.identity()
    old.ctl("renew")
    rotation.take("Retire")
    assert (rotation.state["generation"], rotation.state["phase"]) == (2, "Idle")
    for camera in (old, canary, new):
        comes_back(camera)
    for name in ("cert", "key"):
        (tmp_path / f"{name}.pem").write_text(former[name])
    refusal = openssl(
        site,
        tmp_path,
        "registerHttps",
        first,
        "-cert",
        "cert.pem",
        "-key",
        "key.pem",
        "-cert_chain",
        "cert.pem",
        "-tls1_2",
    )
    assert "alert" in refusal.stderr, "a certificate under the old root"
    site.restart()
    for camera in (old, canary, new):
        comes_back(camera)
        assert len(camera.events("setup")) == 1
    assert trusted(site, tmp_path, first), "the cross stays in the chain"


def test_the_way_back_serves_who_pins_the_new_root(
    site: Any, rotation: Rotation, joined: Any, comes_back: Any, tmp_path: Path
) -> None:
    first = root(site)
    old = joined(OLD)
    rotation.take("Prepare", "CrossSign", "Canary", "Roll")
    new = joined(NEW)
    old.ctl("renew")
    second = root(site)
    assert new.identity()["ca"] == second
    rotation.take("Abort")
    assert root(site) == first
    site.restart()
    for camera in (old, new):
        comes_back(camera)
    assert trusted(site, tmp_path, first)
    assert trusted(site, tmp_path, second)
    rotation.take("Prepare", "CrossSign", "Canary", "Roll")
    assert root(site) not in (first, second)
    for camera in (old, new):
        comes_back(camera)


def test_who_pins_the_old_root_goes_dark_only_when_that_is_acknowledged(
    site: Any, rotation: Rotation, joined: Any, tmp_path: Path
) -> None:
    first = root(site)
    old = joined(OLD)
    rotation.take("Prepare", "CrossSign", "Canary", "Roll")
    assert rotation.state["detail"]["pinOldRootNamed"] == [OLD]
    rotation.take("Observe")
    assert rotation.refused("Retire", acknowledged="Root:1") == "still_needed"
    assert old.process.stop() == 0
    rotation.take("Retire", acknowledged=fingerprint(first.encode()))
    assert not trusted(site, tmp_path, first)
    assert trusted(site, tmp_path, root(site))


def test_a_session_that_names_the_old_root_is_never_left_alone(site: Any, rotation: Rotation, joined: Any) -> None:
    joined(OLD)
    rotation.take("Prepare", "CrossSign", "Canary")
    session = site.session(NEW)
    assert rotation.refused("Roll") == "sessions_open"
    status, told = site.call("POST", "/v1.0/devices/initialization-session", {"uid": CANARY})
    assert (status, told["error"]["symbol"]) == (429, "frequent_request")
    assert session["caHash"] == ca_hash(root(site))
