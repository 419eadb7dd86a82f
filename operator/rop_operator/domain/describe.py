"""Plans as lines for people: what happens, and what it costs the camera."""

from __future__ import annotations

from rop_operator.domain.config_map import BY_MEMBER
from rop_operator.domain.plan import (
    Action,
    ApplyBackup,
    ApplyConfig,
    Discover,
    EnrolDrillCamera,
    EnsureGateway,
    EnsureRuntime,
    HandOver,
    HoldUpgrades,
    MakeArchive,
    Plan,
    ReplaceClaims,
    ReplaceLabels,
    RestartRuntime,
    RotateStep,
    SetAccess,
    SetFinalizer,
    StartDrill,
    StartUpgrade,
    StopDrill,
    StopGateway,
    StopRuntime,
    StoreImage,
    TakeManagement,
    WriteSettings,
)
from rop_operator.domain.profiles import PATHS
from rop_operator.domain.settings import shown_value


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def cost(action: Action) -> str:
    """`1 write, 0 wakes`; reboots only when there are some."""
    told = f"{_count(action.device_writes, 'write')}, {_count(action.wakes, 'wake')}"
    return f"{told}, {_count(action.reboots, 'reboot')}" if action.reboots else told


def describe(action: Action) -> str:
    """One line for an action."""
    match action:
        case WriteSettings(write=write, read=read) if write:
            told = ", ".join(f"{PATHS.get(name, name)} = {shown_value(value)}" for name, value in write.items())
            return f"write {told} ({cost(action)})"
        case WriteSettings(read=read):
            return f"read {', '.join(PATHS.get(name, name) for name in read)} ({cost(action)})"
        case HandOver(uid=uid, attempt=attempt, address=address):
            where = f"at {address}" if address else "found by discovery"
            return (
                f"hand over {uid} {where}, attempt {attempt}: one-way, the vendor's app no longer reaches it;"
                f" needs firmware that supports the open platform ({cost(action)})"
            )
        case SetAccess(uid=uid, access="Denied"):
            return f"deny {uid} on every port and cut it off"
        case SetAccess(uid=uid):
            return f"allow {uid}"
        case SetFinalizer(present=True):
            return "hold the document until its device is revoked (finalizer)"
        case SetFinalizer():
            return "let the document go (finalizer)"
        case StartUpgrade(camera=camera, file=file, factory_reset=reset):
            return f"install {file} on {camera}{', with a factory reset' if reset else ''} ({cost(action)})"
        case Discover(uid=uid):
            return f"look for {uid} on the LAN"
        case _:
            return _describe_server(action)


def _describe_server(action: Action) -> str:
    match action:
        case EnsureRuntime(members=members):
            return f"start the server, with {_count(len(members), 'config member')} of this document"
        case RestartRuntime(members=members):
            return f"restart the server for {', '.join(members)}"
        case StopRuntime():
            return "stop the server; its data stays"
        case TakeManagement(take_over=take_over):
            return "take the server over from its present manager" if take_over else "become the server's manager"
        case ReplaceClaims(policy="Open"):
            return "let any device enrol"
        case ReplaceClaims(uids=uids):
            return f"let {_count(len(uids), 'documented UID')} enrol"
        case ApplyBackup(targets=targets, recipients=recipients):
            return f"back the keys up to {', '.join(targets)}, to be opened by {', '.join(recipients)}"
        case EnsureGateway(host=host):
            return f"run the gateway {host}"
        case StopGateway():
            return "stop the gateway; clients use the server's own ports again"
        case ReplaceLabels(labels=labels):
            return f"tell the server the labels of {_count(len(labels), 'camera')}"
        case EnrolDrillCamera(replace=replace):
            return "enrol the drill camera again" if replace else "enrol a drill camera"
        case StartDrill(target=target):
            return f"restore the newest archive of {target} in memory and let virtual cameras try it"
        case StopDrill():
            return "stop the drill"
        case MakeArchive(targets=names, retain=retain):
            kept = ", kept for ever" if retain == "Forever" else ""
            return f"make an archive of the keys on {', '.join(names) or 'every target'}{kept}"
        case RotateStep(item=item, step=step, generation=generation, acknowledged=given_up):
            told = f"rotate {item} to generation {generation}: {step}"
            return f"{told}, giving up {given_up}" if given_up else told
        case StoreImage(file=file):
            return f"store {file} in the server's firmware folder"
        case HoldUpgrades(uids=uids):
            return f"keep other upgrades away from {_count(len(uids), 'camera')}"
        case ApplyConfig(shown=shown):
            return "; ".join(f"set {name} = {value} ({_effect(name)})" for name, value in shown.items())
        case _:
            return type(action).__name__


def _effect(member: str) -> str:
    row = BY_MEMBER.get(member)
    return "needs a restart" if row is not None and row.apply == "Restart" else "live"


def totals(plans: list[Plan]) -> str:
    """`Plan: 3 actions, 1 write, 0 wakes, 0 reboots.`"""
    actions = [action for plan in plans for action in plan.actions]
    told = [
        _count(len(actions), "action"),
        _count(sum(a.device_writes for a in actions), "device write"),
        _count(sum(a.wakes for a in actions), "wake"),
        _count(sum(a.reboots for a in actions), "reboot"),
    ]
    return f"Plan: {', '.join(told)}{_later([action for plan in plans for action in plan.later])}."


def _later(actions: list[Action]) -> str:
    if not actions:
        return ""
    writes, wakes = sum(a.device_writes for a in actions), sum(a.wakes for a in actions)
    return f"; then at most {_count(writes, 'device write')} and {_count(wakes, 'wake')} when cameras are online"
