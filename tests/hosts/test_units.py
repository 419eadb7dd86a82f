"""Units on real hosts: hardened, watched, limited; servers outlive the agent; drills by timer; the gateway."""

import json
import re
import subprocess
from typing import Any

import pytest

from rop_pki.envelope import new_identity, recipient_of

SERVER = "rop-server@video-home.service"
DRILL = "rop-drill@video-home.service"
DATA = "/var/lib/rop/servers/video/home"
EXPOSURE = 2.0


@pytest.mark.parametrize("unit", ["rop-agent.service", SERVER, "rop-gateway.service", DRILL])
def test_units_are_clean_and_hardened(host: Any, unit: str) -> None:
    verified = host.lab.run(host.name, f"systemd-analyze verify {unit}")
    assert "rop-" not in verified.stderr + verified.stdout
    told = host.lab.run(host.name, f"systemd-analyze security --no-pager {unit}", check=False).stdout
    exposure = float(told[told.rindex("exposure level") :].split(":")[1].split()[0])
    assert exposure <= EXPOSURE, told


@pytest.mark.parametrize("unit", ["rop-server@video-home.socket", "rop-drill@video-home.timer"])
def test_sockets_and_timers_are_clean(host: Any, unit: str) -> None:
    verified = host.lab.run(host.name, f"systemd-analyze verify {unit}")
    assert "rop-" not in verified.stderr + verified.stdout


@pytest.mark.parametrize("program", ["rop-server", "rop-drill", "ropsim", "rop-gateway", "rop-agent", "ropctl"])
def test_programs_have_a_page_and_completion(host: Any, program: str) -> None:
    page = host.run(f"zcat /usr/share/man/man1/{program}.1.gz")
    assert page.count(".SH") >= 3
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE=bash_complete"
    words = f"COMP_WORDS='{program} --' COMP_CWORD=1"
    assert "--help" in host.run(f"{words} {variable} {program}")
    host.run(f"bash -n /usr/share/bash-completion/completions/{program}")


def test_the_agent_starts_a_server_as_a_unit(serving: Any) -> None:
    serving.until(serving.ready, 60, "the RopServer is ready")
    assert serving.run(f"stat -c '%U %a' {DATA}").split() == ["rop", "700"]
    assert serving.shown("Type") == "notify"
    assert serving.shown("WatchdogUSec") == "30s"
    assert int(serving.shown("LimitNOFILE")) >= 65536


def test_a_camera_is_found_and_handed_over(camera: Any) -> None:
    camera.until(lambda: camera.holds("camera door", "Ready"), 60, "the camera is as it should be")


def test_the_server_outlives_the_agent(camera: Any) -> None:
    before = camera.shown("MainPID")
    camera.run("systemctl kill -s KILL rop-agent; systemctl restart rop-agent; systemctl stop rop-agent")
    assert camera.shown("MainPID") == before
    assert camera.active()
    camera.run("systemctl start rop-agent")


def test_a_killed_server_comes_back_with_its_camera(camera: Any) -> None:
    before = camera.shown("MainPID")
    camera.run(f"systemctl kill -s KILL {SERVER}")
    camera.until(lambda: camera.active() and camera.shown("MainPID") != before, 60, "systemd starts it again")
    camera.until(lambda: camera.ready() and camera.online(), 60, "the agent sees it")


def test_a_server_ends_gracefully(camera: Any) -> None:
    camera.run(f"systemctl stop rop-agent {SERVER}")
    assert [camera.shown(name) for name in ("Result", "ExecMainStatus")] == ["success", "0"]
    camera.run("systemctl start rop-agent")
    camera.until(lambda: camera.ready() and camera.online(), 60, "its camera is back")


@pytest.mark.parametrize("unit", [SERVER, "rop-agent.service"])
def test_a_program_that_hangs_is_replaced(serving: Any, unit: str) -> None:
    folder = f"/run/systemd/system/{unit}.d"
    serving.run(f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=5\\n' > {folder}/fast.conf")
    serving.run(f"systemctl daemon-reload && systemctl restart {unit}")
    before = serving.shown("MainPID", unit)
    serving.run(f"kill -STOP {before}")
    serving.until(
        lambda: serving.active(unit) and serving.shown("MainPID", unit) != before, 90, "the watchdog bites"
    )
    serving.run(f"rm -r {folder} && systemctl daemon-reload && systemctl restart {unit}")


def test_a_configuration_that_cannot_be_used_is_told(serving: Any) -> None:
    serving.run(f"cp -p {DATA}/config.json {DATA}/config.json.good && echo '{{' > {DATA}/config.json")
    serving.refuses(f"systemctl restart {SERVER}")
    serving.until(
        lambda: "config.json: must be strict JSON" in serving.run("ropctl -n video events"),
        60,
        "the reason is an event",
    )
    serving.run(f"mv {DATA}/config.json.good {DATA}/config.json && systemctl start {SERVER}")


def test_the_agent_may_touch_no_other_unit(serving: Any) -> None:
    as_rop = "setpriv --reuid=rop --regid=rop --clear-groups systemctl --no-ask-password"
    refused = serving.refuses(f"{as_rop} stop ssh.service").lower()
    assert "authentication" in refused or "denied" in refused
    serving.run(f"{as_rop} start {SERVER}")


def test_a_drill_by_its_timer_with_an_archive_on_a_disk(serving: Any) -> None:
    people = [{"name": name, "key": recipient_of(new_identity())} for name in ("alice", "bob")]
    identity = new_identity()
    drill = {"name": "drill", "key": recipient_of(identity), "scope": "WithoutRootKey"}
    folder = "/etc/rop/drill/video-home"
    serving.run("install -d -o rop -g rop -m 700 /mnt/backup")
    serving.run(f"runuser -u rop -- rop-server drill-camera enrol --data {DATA} --to {folder}")
    serving.run(f"install -o rop -g rop -m 600 /dev/stdin {folder}/identity", identity.decode())
    serving.run(f"echo 'ROP_DRILL_OPTIONS=--from /mnt/backup --max-age 1h' > {folder}/drill.env")
    serving.apply(
        backup={
            "recipients": [*people, drill],
            "targets": [{"name": "disk", "directory": {"path": "/mnt/backup"}}],
        }
    )
    serving.until(lambda: serving.holds("ropserver home", "BackedUp"), 60, "the disk has an archive")
    timer = "/run/systemd/system/rop-drill@video-home.timer.d"
    soon = "[Timer]\\nOnCalendar=\\nOnActiveSec=0\\nRandomizedDelaySec=0\\n"
    serving.run(f"mkdir -p {timer} && printf '{soon}' > {timer}/soon.conf && systemctl daemon-reload")
    serving.run("systemctl start rop-drill@video-home.timer")

    def ended() -> bool:
        return bool(serving.shown("ExecMainExitTimestamp", DRILL))

    serving.until(ended, 180, "the drill ends")
    assert serving.shown("Result", DRILL) == "success", serving.run(f"journalctl -u {DRILL} -o cat")
    serving.run(f"systemctl stop rop-drill@video-home.timer && rm -r {timer} && systemctl daemon-reload")
    reports = serving.run("ls /var/lib/rop-drill/video-home")
    assert re.search(r"drill-.*\.json", reports)


def test_a_drill_without_an_archive_fails(serving: Any) -> None:
    folder = "/etc/rop/drill/video-home"
    serving.run("install -d -o rop -g rop -m 700 /mnt/nothing")
    serving.run(f"sed -i s/backup/nothing/ {folder}/drill.env")
    serving.refuses(f"systemctl start {DRILL}")
    serving.run(f"sed -i s/nothing/backup/ {folder}/drill.env && systemctl reset-failed {DRILL}")


def test_a_secret_of_the_agent_as_a_credential(serving: Any) -> None:
    folder = "/run/systemd/system/rop-agent.service.d"
    serving.run("umask 077; printf hidden-word > /opt/word")
    dropin = "[Service]\\nLoadCredential=mail.password:/opt/word\\n"
    serving.run(f"mkdir -p {folder} && printf '{dropin}' > {folder}/credential.conf && systemctl daemon-reload")
    serving.run("systemctl restart rop-agent")
    seen = serving.run("cat /run/credentials/rop-agent.service/mail.password")
    assert seen == "hidden-word"
    environment = serving.run(f"tr '\\0' '\\n' < /proc/{serving.shown('MainPID', 'rop-agent')}/environ")
    assert "CREDENTIALS_DIRECTORY=/run/credentials/rop-agent.service" in environment
    assert "hidden-word" not in environment
    serving.run(f"rm -r {folder} && systemctl daemon-reload && systemctl restart rop-agent")


def test_a_deleted_document_stops_the_server_and_keeps_its_keys(serving: Any) -> None:
    keys = serving.keys()
    acknowledged = serving.spec["acknowledge"]
    serving.apply(acknowledge=[*acknowledged, {"edge": "DeleteServer", "value": "home"}])
    serving.run("ropctl -n video delete ropserver home")
    serving.until(lambda: serving.shown("ActiveState") == "inactive", 60, "the server stops")
    assert serving.keys() == keys
    serving.apply(acknowledge=acknowledged)
    serving.until(serving.ready, 60, "it serves again")
    assert serving.keys() == keys


def test_the_gateway_serves_with_a_certificate_of_the_site(serving: Any) -> None:
    document = {
        "host": serving.address,
        "directory": "/var/lib/rop-gateway",
        "sockets": "/run/rop-server/video/home",
        "certificate": {"source": "Authority"},
        "htpasswdFile": "/etc/rop/htpasswd",
    }
    serving.run("cat > /etc/rop/gateway.yaml", json.dumps(document))
    serving.run("rop-gateway password alice > /etc/rop/htpasswd", "only-for-a-test")
    members = json.dumps({"rop.gateway": {"hosts": [serving.address]}})
    serving.run(f"systemctl stop rop-agent {SERVER}")
    serving.run(f"runuser -u rop -- rop-server configure --data {DATA} --patch -", members)
    serving.run("systemctl start rop-agent rop-gateway")
    root = serving.lab.hosts[serving.name].root / f"{DATA[1:]}/certs/ECC/Root/ca.pem"
    url = f"https://{serving.address}:61010/v1.0/devices"

    def status(*credentials: str) -> str:
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", root, *credentials, url]
        return subprocess.run(serving.lab.inside(*command), capture_output=True, text=True, check=False).stdout

    alice = ("-u", "alice:only-for-a-test")
    serving.until(lambda: status(*alice) == "200", 90, "it serves")
    assert status() == "401"
    serving.run("systemctl kill -s KILL --kill-whom=main rop-gateway")
    serving.until(lambda: serving.shown("NRestarts", "rop-gateway") == "1", 60, "it is started again")
    serving.until(lambda: status(*alice) == "200", 60, "it serves again")
