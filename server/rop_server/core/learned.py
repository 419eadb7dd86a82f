"""Settings of a device that pass by in calls, keyed like the management interface."""

from __future__ import annotations

from rop_server.core.facade import Request
from rop_wire import messages
from rop_wire.errors import WireError


def learned_from(request: Request, payload: bytes) -> tuple[dict[str, object], str] | None:
    """Settings known after a successful call, and how (`Read` or `Written`); None when it tells none."""
    try:
        if isinstance(request, messages.GeneralConfigGet):
            return _name(messages.GeneralConfig.decode(payload).device_name), "Read"
        if isinstance(request, messages.PirGet):
            return _pir(messages.PirConfig.decode(payload)), "Read"
        if isinstance(request, messages.AlarmSwitchGet):
            return {"alarm.enabled": messages.AlarmSwitch.decode(payload).enabled}, "Read"
        if isinstance(request, messages.WifiGet):
            told = messages.WifiConfig.decode(payload)
            return _wifi(told.ssid, told.country_code), "Read"
    except WireError:
        return None
    if isinstance(request, messages.GeneralConfigSet):
        return _name(request.device_name), "Written"
    if isinstance(request, messages.PirSet):
        return _pir(request), "Written"
    if isinstance(request, messages.AlarmSwitchSet):
        return {"alarm.enabled": request.enabled}, "Written"
    if isinstance(request, messages.WifiSet):
        return _wifi(request.ssid, request.country_code), "Written"
    return None


def _name(name: str | None) -> dict[str, object]:
    return {} if name is None else {"displayName": name}


def _wifi(ssid: str, country: str | None) -> dict[str, object]:
    """Never the key."""
    told: dict[str, object] = {"wifi.ssid": ssid} if ssid else {}
    return told | ({"wifi.countryCode": country} if country else {})


def _pir(config: messages.PirConfig) -> dict[str, object]:
    told: dict[str, object] = {
        "pir.enabled": config.enabled,
        "pir.reduceMistakes": config.reduce_mistakes,
    }
    if config.sensitivity_percent is not None:
        told["pir.sensitivity"] = config.sensitivity_percent
    return told
