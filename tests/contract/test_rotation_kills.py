"""kill -9 of a real server at random moments of rotations, with a camera that comes back every time.

ROP_ROTATION_ROUNDS=12 makes it 204 kills.
"""

import contextlib
import http.client
import os
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

ROUNDS = int(os.environ.get("ROP_ROTATION_ROUNDS", "1"))
BACKOFF = 150.0  # a camera that found nobody for long waits longer from time to time
UID = "ROTATE0000000001"
# Nobody is given up: the camera does not renew within the test, so what waits for that goes back.
PATHS = {
    "ServerCertificate": ("Prepare", "Roll", "Retire"),
    "DeviceKey": ("Prepare", "Roll", "Retire"),
    "Intermediate": ("Prepare", "Roll", "Abort"),
    "SignKey": ("Prepare", "Roll", "Abort"),
    "Root": ("Prepare", "CrossSign", "Canary", "Roll", "Abort"),
}
PHASES = {
    "Prepare": "Prepared",
    "CrossSign": "CrossSigned",
    "Canary": "Canary",
    "Roll": "Rolling",
    "Retire": "Idle",
    "Abort": "Idle",
}
SLOW = {("Intermediate", "Prepare"), ("Root", "Prepare"), ("Root", "CrossSign")}


def state(site: Any, item: str) -> dict[str, Any]:
    items = site.manage("GET", "/rotations")[1]["items"]
    found: dict[str, Any] = next(each for each in items if each["item"] == item)
    return found


def order(site: Any, fence: int, item: str, step: str, generation: int) -> tuple[int, Any]:
    body = {"step": step, "toGeneration": generation}
    told: tuple[int, Any] = site.manage("POST", f"/rotations/{item}?fence={fence}", body, Rop_Manager="contract")
    return told


def killed_while(site: Any, moment: float, call: Callable[[], Any]) -> None:
    """Order it, and kill the server that many seconds later."""

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            call()

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(moment)
    site.process.kill()
    asking.join()
    site.start()


@pytest.mark.timeout(180 + 30 * ROUNDS)
def test_a_killed_server_is_before_or_after_the_step_and_goes_on(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any]
) -> None:
    camera = joined(UID)
    _, manager = site.manage("PUT", "/manager", {"id": "contract", "takeOver": True})
    dice, kills = random.Random(20261126), 0
    for _ in range(ROUNDS):
        for item, steps in PATHS.items():
            generation = state(site, item)["generation"] + 1
            for step in steps:
                before = state(site, item)["phase"]
                longest = 0.6 if (item, step) in SLOW else 0.06
                arguments = (site, manager["fence"], item, step, generation)
                killed_while(site, dice.uniform(0, longest), lambda known=arguments: order(*known))
                kills += 1
                assert state(site, item)["phase"] in (before, PHASES[step])
                status, told = order(*arguments)
                assert (status, told["phase"]) == (200, PHASES[step]), (item, step, told)
            expected = generation if steps[-1] == "Retire" else generation - 1
            assert state(site, item)["generation"] == expected
    assert kills == ROUNDS * sum(map(len, PATHS.values()))
    poll("the camera is back", lambda: site.online(UID), BACKOFF)
    assert len(camera.events("setup")) == 1
