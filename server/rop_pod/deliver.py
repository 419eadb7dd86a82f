"""How the operator gets in: a token of the management interface and its authority, told through one Secret."""

from __future__ import annotations

from rop_data.layout import DataDir
from rop_pod.account import Account, AccountError
from rop_server.manage.trust import ManagementTls
from rop_server.state.tokens import TokenStore

NAME = "operator"
AUTHORITY, TOKEN = "ca.crt", "token"


def deliver_access(account: Account, directory: DataDir, secret: str, now: float) -> bool:
    """See that the Secret holds a token that works and the present authority; True when it was written.

    A token is known here by its hash alone, so one that is lost is replaced. AccountError.
    """
    ManagementTls(directory.manage, "localhost", now)
    authority = (directory.manage / "ca.pem").read_bytes()
    held = account.read(secret)
    if held is None:
        raise AccountError(f"Secret {secret} is not there, or its Role is not: the operator makes both")
    tokens = TokenStore.open(directory.state)
    try:
        told = held.data.get(TOKEN, b"").decode("ascii", "replace").strip()
        if tokens.verify(told) is not None and held.data.get(AUTHORITY) == authority:
            return False
        if any(each.name == NAME for each in tokens.tokens()):
            tokens.revoke(NAME)
        made = tokens.create(NAME, "Admin", now)
    finally:
        tokens.close()
    account.fill(secret, held, {AUTHORITY: authority, TOKEN: made.encode()}, {}, final=False)
    return True
