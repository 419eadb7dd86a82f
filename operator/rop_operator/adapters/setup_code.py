"""Set-up documents as QR codes: the JSON text itself. Source: ROP v1.0 wire specification, lan-setup (assumed)."""

import io
import json

import segno

from rop_operator.api.facts import Session


def code_of(session: Session) -> segno.QRCode:
    """The code; it holds a secret."""
    text = json.dumps(dict(session.document), separators=(",", ":"))
    return segno.make(text, error="m", micro=False)


def png(session: Session) -> bytes:
    """A picture for screens and printers, with its quiet zone."""
    out = io.BytesIO()
    code_of(session).save(out, kind="png", scale=8)
    return out.getvalue()


def svg(session: Session) -> str:
    """A drawing that scales."""
    out = io.BytesIO()
    code_of(session).save(out, kind="svg", scale=4, light="white", xmldecl=False)
    return out.getvalue().decode()
