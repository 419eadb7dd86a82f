"""Taking a firmware file."""

import pytest

from rop_sim.faults import Faults
from rop_sim.firmware import DISCONNECT, Installation, Return, Upgrade, version_in
from rop_wire.messages import UpgradeBegin

OLD = "v3.1.0.1000_24010100"
FILE = UpgradeBegin("CAM_v3.2.0.1_25010100.pak", 80_000, False)
NEW = "v3.2.0.1_25010100"


def transfer(upgrade: Upgrade, size: int = 80_000) -> list[int]:
    return [upgrade.slice(bytes(min(36864, size - at))) for at in range(0, size, 36864)]


def test_version_in() -> None:
    assert version_in(FILE.file_name) == NEW
    assert version_in("special.paks") == "special"


def test_whole_file() -> None:
    upgrade = Upgrade(Faults(), 1.5)
    assert upgrade.begin(FILE, OLD, None) == 200
    assert upgrade.active
    assert transfer(upgrade) == [200, 200, 200]
    assert upgrade.install(OLD) == Installation(NEW, False, Return.NEW, 1.5)
    assert not upgrade.active


@pytest.mark.parametrize(
    ("announced", "firmware", "battery", "status"),
    [
        (FILE, NEW, None, 401),
        (FILE, OLD, 19, 408),
        (FILE, OLD, 20, 200),
        (UpgradeBegin("a.pak", 0, False), OLD, 80, 402),
    ],
)
def test_announcements(announced: UpgradeBegin, firmware: str, battery: int | None, status: int) -> None:
    assert Upgrade(Faults()).begin(announced, firmware, battery) == status


def test_too_little_and_too_much() -> None:
    upgrade = Upgrade(Faults())
    assert upgrade.slice(b"early") == 400
    upgrade.begin(FILE, OLD, None)
    transfer(upgrade, 79_999)
    assert upgrade.install(OLD) is None
    upgrade.begin(FILE, OLD, None)
    assert transfer(upgrade, 80_001)[-1] == 402


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [("upgrade-refuse-slice=2", [200, 402, 400]), ("upgrade-disconnect=1", [DISCONNECT, 400, 400])],
)
def test_faults_on_the_way(fault: str, statuses: list[int]) -> None:
    upgrade = Upgrade(Faults([fault]))
    upgrade.begin(FILE, OLD, None)
    assert transfer(upgrade) == statuses


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("upgrade-late=7", Installation(NEW, False, Return.NEW, 7)),
        ("upgrade-old-version", Installation(OLD, False, Return.OLD, 2)),
        ("upgrade-never-back", Installation(OLD, False, Return.NEVER, 2)),
    ],
)
def test_faults_afterwards(fault: str, expected: Installation) -> None:
    upgrade = Upgrade(Faults([fault]))
    upgrade.begin(FILE, OLD, None)
    transfer(upgrade)
    assert upgrade.install(OLD) == expected


def test_refused_announcement() -> None:
    assert Upgrade(Faults(["upgrade-refuse=404"])).begin(FILE, OLD, None) == 404
