"""`make bench`: what the server costs beside the vendor's, in CPU seconds, KiB and ratios.

The table and all numbers go to `build/bench/`. Goals are printed beside the results; nothing asserts a time.
Server and client run on different cores. By environment: DEVICES (cameras, 1000), BEAT_SECONDS (20),
AT_ONCE (cameras in flight after a restart, all of them), STRANGERS (20000), RELAY (numbers of streams, "10 30"),
ONLY (parts, "fleet online strangers certificates relay").
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import client_rows
import fleet_rows
import uvloop
from receiver import Receiver
from stand import CORES, ROOT, Server, pin, running

from free_ports import free_ports

__all__ = ["Server", "main", "running"]

OUT = ROOT / "build" / "bench"
PARTS = "fleet online strangers certificates relay"
Rows = dict[str, float]

# what is measured | number | vendor's server on the same kind of machine | goal | better when
TABLE = (
    ("wired mTLS connects: CPU s per 1,000", "wired.cpuPer1000", "6.1", "<= 4.5"),
    ("wired: KiB per device", "wired.kibPerDevice", "52", "<= 52"),
    ("wired: attempts that failed", "wired.failures", "0", "<= 0"),
    ("memory of the server, all connected, MiB", "wired.residentMiB", "", "<= 3072"),
    ("memory of the server, the most through all of these rows, MiB", "peakMiB", "", "<= 3072"),
    ("heartbeats every 20 s: CPU %, for 10,000", "beat.cpuPercentAt10000", "13.8", "<= 7"),
    ("heartbeats: round trip p99, ms", "beat.rttP99Ms", "217", "<= 50"),
    ("battery keep-alives: CPU s per 1,000", "battery.cpuPer1000", "0.65", "<= 0.5"),
    ("battery: KiB per device", "battery.kibPerDevice", "12.4", "<= 12"),
    ("GET devices, 16 clients: per s", "list.perSecond", "780", ">= 2000"),
    ("GET devices: per CPU s of the server", "list.perCpuSecond", "", ""),
    ("GET general-config, 16 clients: per s", "general.perSecond", "3204", ">= 3500"),
    ("GET general-config: per CPU s of the server", "general.perCpuSecond", "", ""),
    ("PUT wifi-config, 1 client: per s", "wifi.perSecond", "23", ">= 2000"),
    ("PUT wifi-config: per CPU s of the server", "wifi.perCpuSecond", "", ""),
    ("all at once after a restart: not back", "storm.notBack", "not tried", "<= 0"),
    ("all at once: attempts repeated", "storm.attemptsRepeated", "not tried", "<= 0"),
    ("all at once: s until everybody is back", "storm.seconds", "not tried", ""),
    ("all at once: loop lag p99, ms", "storm.lagP99Ms", "not tried", "<= 100"),
    ("all at once: loop lag, the longest, ms", "storm.lagMaxMs", "", ""),
    ("all at once: a request on 61009 answered, p99, ms", "storm.probeP99Ms", "", ""),
    ("all at once: alarms acknowledged before and meanwhile", "storm.alarms", "", ""),
    ("all at once: alarms lost", "storm.alarmsLost", "not tried", "<= 0"),
    ("kill -9 and a new start: not back", "killed.notBack", "not tried", "<= 0"),
    ("kill -9: attempts repeated", "killed.attemptsRepeated", "not tried", "<= 0"),
    ("kill -9: CPU s of the start", "killed.startCpu", "not tried", ""),
    ("kill -9: CPU s until everybody is back", "killed.cpu", "not tried", ""),
    ("kill -9: s until everybody is back", "killed.seconds", "not tried", ""),
    ("initialization session to online, ms", "online.ms", "80", "<= 30"),
    ("device certificates per CPU s", "certificates.perCpuSecond", "14", ">= 500"),
    ("idle strangers: connections", "strangers.connections", "", ""),
    ("idle strangers: s until a camera is online", "strangers.cameraOnlineSeconds", "", ""),
    ("idle strangers: MiB left afterwards", "strangers.leftMiB", "", "<= 8"),
)


async def fleet(server: Server, count: int, seconds: float, receiver_port: int) -> Rows:
    """Every row that needs the fleet, enrolled once."""
    receiver = Receiver()
    await receiver.start(receiver_port)
    cameras = await fleet_rows.enrolled(server, count)
    at_once = int(os.environ.get("AT_ONCE", count))
    rows = await fleet_rows.connects(server, cameras, "wired")
    rows |= await fleet_rows.heartbeats(server, cameras, seconds)
    rows |= await client_rows.requests(server, cameras)
    peak = server.peak()
    rows |= await fleet_rows.restart(server, cameras, receiver, at_once)
    peak = max(peak, server.peak())
    rows |= await fleet_rows.killed(server, cameras, at_once)
    rows["peakMiB"] = max(peak, server.peak()) / 1024
    rows |= await fleet_rows.battery(server, cameras)
    cameras.close()
    await receiver.stop()
    return rows


def relay(counts: list[str]) -> tuple[Rows, list[tuple[str, str, str, str]]]:
    """The rows of `relay.py`, in a process of its own for each number of streams."""
    rows: Rows = {}
    table = []
    os.sched_setaffinity(0, CORES)  # it divides them itself
    for count in counts:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("relay.py")), count],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            continue
        told = json.loads(done.stdout.splitlines()[-1])
        rows |= {f"relay{count}.{name}": value for name, value in told.items()}
        table += [
            (f"relay, {count} streams: CPU s per GB", f"relay{count}.cpuPerGB", "19-23", "<= 8"),
            (f"relay, {count} streams: latency p50, ms", f"relay{count}.p50ms", "134 at 30", "<= 10"),
            (f"relay, {count} streams: latency p99, ms", f"relay{count}.p99ms", "569 at 30", "<= 60"),
            (f"relay, {count} streams: part in time", f"relay{count}.inTime", "up to 40", ">= 0.99"),
        ]
    return rows, table


def met(value: float, goal: str) -> str:
    """Whether a goal is met."""
    if not goal:
        return ""
    sign, _, number = goal.partition(" ")
    return "yes" if (value <= float(number) if sign == "<=" else value >= float(number)) else "NO"


def measure(parts: list[str]) -> tuple[Rows, list[tuple[str, str, str, str]]]:
    """The parts asked for."""
    rows: Rows = {}
    table = list(TABLE)
    count = fleet_rows.open_files(int(os.environ.get("DEVICES", "1000")))
    if "fleet" in parts:
        port = free_ports(1)[0]
        address = f"http://127.0.0.1:{port}/alarm"
        with running(alarm__enabled=True, alarm__notificationURL=address) as server:
            rows |= uvloop.run(fleet(server, count, float(os.environ.get("BEAT_SECONDS", "20")), port))
    if "online" in parts:
        with running() as server:
            rows |= uvloop.run(fleet_rows.to_online(server))
    if "strangers" in parts:
        with running() as server:
            rows |= uvloop.run(fleet_rows.strangers(server, int(os.environ.get("STRANGERS", "20000"))))
    if "certificates" in parts:
        rows |= client_rows.certificates()
    if "relay" in parts:
        told, more = relay(os.environ.get("RELAY", "10 30").split())
        rows |= told
        table += more
    return rows | {"devices": count}, table


def main() -> None:
    """Measure, print, keep."""
    pin(0, last=False)
    rows, table = measure(os.environ.get("ONLY", PARTS).split())
    load = os.getloadavg()
    head = f"{int(rows['devices']):,} cameras, {len(CORES)} cores, Python {platform.python_version()}, "
    head += f"load of the machine at the end {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}"
    lines = [head, "", "| work | vendor | goal | ours | met |", "|---|---|---|---|---|"]
    for text, name, vendor, goal in table:
        if name in rows:
            lines.append(f"| {text} | {vendor} | {goal} | {rows[name]:.2f} | {met(rows[name], goal)} |")
    print("\n".join(lines))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "table.md").write_text("\n".join(lines) + "\n")
    report = {"at": datetime.now(UTC).isoformat(), "load": load, "numbers": rows}
    (OUT / "result.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
