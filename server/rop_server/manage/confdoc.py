"""The configuration as the management interface shows it: members by dotted name, secrets as keyed hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from rop_data.members import BY_NAME, MEMBERS, get, has


class ConfigView:
    """Shows and compares. The key of the hashes lives as long as the process, so they tell nothing later."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def members(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Every known member that is no secret; missing ones with the value used instead."""
        shown = ((member.name, get(raw, member.name, member.builtin)) for member in MEMBERS if not member.secret)
        return {name: value for name, value in shown if value is not None}

    def masked(self, raw: Mapping[str, Any]) -> dict[str, str]:
        """Every secret member that is there, as a keyed hash: equal values have equal hashes."""
        return {
            member.name: "hmac-sha256:" + self._hash(get(raw, member.name))
            for member in MEMBERS
            if member.secret and has(raw, member.name)
        }

    def compare(self, raw: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, bool]:
        """Whether each member has this value (null: whether it is absent or at its default)."""
        return {name: self._equal(raw, name, value) for name, value in wanted.items()}

    def _equal(self, raw: Mapping[str, Any], name: str, value: Any) -> bool:
        default = BY_NAME[name].builtin if name in BY_NAME else None
        return hmac.compare_digest(
            self._hash(get(raw, name, default)), self._hash(default if value is None else value)
        )

    def _hash(self, value: Any) -> str:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
