"""The virtual cameras of a drill: one that was enrolled before the fire, one that comes new."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from rop_data.drill import DrillCamera
from rop_drill.reasons import DrillFailed, Reason
from rop_drill.strip import LOOPBACK
from rop_sim.camera import Camera
from rop_sim.device import Traits
from rop_sim.extras import Extras
from rop_sim.https import request
from rop_sim.identity import Identity, IdentityStore, trusting
from rop_sim.provision import SetupError, register, renew
from rop_wire.provisioning import CA_PATH

STREAM = "externStream"
_PAUSE = 0.2


def _camera(folder: Path, uid: str, battery: bool, faults: tuple[str, ...]) -> Camera:
    """A camera with a small film of ours, so that no other program is needed."""
    media = folder / "media"
    media.mkdir(parents=True, mode=0o700)
    (media / f"{STREAM}.h264").write_bytes(files("rop_drill").joinpath("film.h264").read_bytes())
    (media / "sound.adts").write_bytes(b"")
    traits = Traits(uid, "ROP Drill", battery=battery)
    return Camera(folder, traits, _PAUSE, extras=Extras(faults=faults, connect_to=LOOPBACK))


def newcomer(folder: Path, uid: str) -> Camera:
    """A wired camera that no server knows yet."""
    return _camera(folder, uid, battery=False, faults=())


def veteran(folder: Path, known: DrillCamera, ports: Mapping[str, int], faults: tuple[str, ...] = ()) -> Camera:
    """A battery camera that was enrolled at the site: it needs every port but 61005 to come back."""
    identity = Identity(
        known.host,
        ports["getCAHttps"],
        ports["getCertHttps"],
        ports["registerHttps"],
        known.root_pem,
        known.chain_pem,
        known.key_pem,
        known.code,
        address=LOOPBACK,
    )
    IdentityStore(folder / "identity").save(identity)
    return _camera(folder, known.uid, battery=True, faults=faults)


def _identity(camera: Camera) -> Identity:
    assert camera.identity is not None
    return camera.identity


async def trust(camera: Camera) -> None:
    """Verify the server against the pinned root and host. Raises DrillFailed."""
    told = _identity(camera)
    try:
        address = (told.host, told.get_ca_port)
        status, _ = await request(address, trusting(told.ca), f"GET {CA_PATH}", at=told.address)
    except (OSError, ValueError, EOFError) as failure:  # ssl.SSLError and TimeoutError are OSErrors
        raise DrillFailed(Reason.SERVER_NOT_TRUSTED, f"{type(failure).__name__}: {failure}") from None
    if status != 200:
        raise DrillFailed(Reason.SERVER_NOT_TRUSTED, f"the root's download was answered with {status}")


async def renew_certificate(camera: Camera) -> float:
    """Renew with the long-term code; the end of the new certificate, epoch seconds. Raises DrillFailed."""
    old = _identity(camera)
    try:
        new = await renew(old, camera.traits.uid)
    except SetupError as failure:
        hint = "after a change of authCode.signKey: rop-server drill-camera enrol --replace"
        raise DrillFailed(Reason.RENEWAL_REFUSED, f"{failure} ({hint})") from None
    if new.cert == old.cert or new.key == old.key:
        raise DrillFailed(Reason.RENEWAL_REFUSED, "the server gave the old certificate again")
    _keep(camera, new)
    return new.certificate_life()[1]


async def register_again(camera: Camera) -> None:
    """Register with the certificate of now. Raises DrillFailed."""
    told = _identity(camera)
    try:
        registered = await register(told, camera.store.client_context(told), camera.traits.uid)
    except SetupError as failure:
        raise DrillFailed(Reason.REGISTRATION_REFUSED, str(failure)) from None
    _keep(camera, registered)


def _keep(camera: Camera, identity: Identity) -> None:
    camera.identity = identity
    camera.store.save(identity)
