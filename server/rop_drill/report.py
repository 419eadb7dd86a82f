"""Reports: signed JSON for programs, a page for people, and how many of them are kept."""

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rop_data import atomic
from rop_data.drill import WARRANT, DrillCamera
from rop_pki.signer import verify

PURPOSE = "rop-drill-report-v1"
_TITLES = {
    "result": "Result",
    "reason": "Reason",
    "message": "Message",
    "started": "Started",
    "ended": "Ended",
    "rtoSeconds": "Recovery time (RTO), seconds until a camera was online",
    "rpoSeconds": "Age of the data (RPO), seconds",
    "rootKeyOpened": "Key of the root CA opened",
    "deniedDevices": "Denied devices in the archive",
    "network": "Network",
    "program": "Program",
}
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Recovery drill {started}: {result}</title>
<style>body{{font:11pt sans-serif;margin:2em;max-width:56em}}td,th{{text-align:left;padding:.2em 1em .2em 0;
vertical-align:top;overflow-wrap:anywhere}}caption{{text-align:left;font-weight:bold;padding:1em 0 .3em}}</style>
</head><body>
<h1>Recovery drill: {result}</h1>
<p>{message}</p>
<table><caption>Summary</caption>
{summary}</table>
<table><caption>Archive</caption>
{archive}</table>
<table><caption>Steps</caption>
<thead><tr><th scope="col">Step</th><th scope="col">Result</th><th scope="col">Seconds</th>
<th scope="col">Detail</th></tr></thead><tbody>
{steps}</tbody></table>
<p>Signed by drill {signer}, which site {site} vouches for. To verify: <code>rop-drill verify {name}
--expect-signer SIGNER</code>, with the signer of the recovery sheet.</p>
</body></html>
"""


class ReportError(Exception):
    """A report that cannot be read or trusted."""


def _bytes(document: Mapping[str, Any]) -> bytes:
    """The signed bytes: the same for the same content."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sign(document: Mapping[str, Any], camera: DrillCamera) -> dict[str, Any]:
    """The report with its signature."""
    signature = {
        "signer": camera.signer.name,
        "siteSigner": camera.site_signer,
        "warrant": camera.warrant,
        "signature": camera.signer.sign(PURPOSE, _bytes(document)).hex(),
    }
    return {"report": dict(document), "signature": signature}


def check(signed: Any, site_signer: str) -> dict[str, Any]:
    """The report, when the site of this signer vouches for it. Raises ReportError."""
    try:
        document, told = signed["report"], signed["signature"]
        warrant, signature = bytes.fromhex(told["warrant"]), bytes.fromhex(told["signature"])
        vouched = verify(site_signer.lower(), WARRANT, str(told["signer"]).encode(), warrant)
        holds = verify(told["signer"], PURPOSE, _bytes(document), signature)
    except (KeyError, TypeError, ValueError):
        raise ReportError("not a report") from None
    if not vouched:
        raise ReportError("this site does not vouch for the drill that signed it")
    if not holds or not isinstance(document, dict):
        raise ReportError("the signature does not hold")
    return document


def page(signed: Mapping[str, Any], name: str) -> str:
    """The report for people, as one page without anything to load. `name`: the JSON file beside it."""
    document, told = signed["report"], signed["signature"]
    rows = [(title, document[member]) for member, title in _TITLES.items()]
    storage = document["storage"] or {}
    rows.append(("Storage of the restored site", _storage(storage)))
    steps = "".join(
        f'<tr><th scope="row">{_text(each["name"])}</th><td>{"passed" if each["passed"] else "failed"}</td>'
        f"<td>{each['seconds']}</td><td>{_text(each['detail'])}</td></tr>\n"
        for each in document["steps"]
    )
    return _PAGE.format(
        started=_text(document["started"]),
        result=_text(document["result"]),
        message=_text(document["message"]),
        summary=_rows(rows),
        archive=_rows(list((document["archive"] or {"archive": "none was opened"}).items())),
        steps=steps,
        signer=_text(told["signer"]),
        site=_text(told["siteSigner"]),
        name=_text(name),
    )


def _storage(storage: Mapping[str, Any]) -> str:
    swap = "; this machine swaps, so memory may reach a disk" if storage.get("swap") else ""
    return f"{storage.get('fileSystem', 'none')}{swap}"


def _rows(rows: list[tuple[str, Any]]) -> str:
    return "".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>\n' for name, value in rows)


def _text(value: Any) -> str:
    words = {None: "-", True: "yes", False: "no"}
    return html.escape(words[value] if value is None or isinstance(value, bool) else str(value))


@dataclass(frozen=True, slots=True)
class History:
    """The reports of a folder, newest first by name; never more than `limit`."""

    folder: Path
    limit: int

    def names(self) -> list[Path]:
        """The JSON files."""
        return sorted(self.folder.glob("drill-*.json"), reverse=True)

    def add(self, signed: Mapping[str, Any]) -> Path:
        """Write a report and its page, and remove what is too much; the JSON file."""
        atomic.make_directory(self.folder)
        atomic.sweep(self.folder)
        document = signed["report"]
        stamp = document["started"].replace("-", "").replace(":", "").replace("+0000", "Z")
        path = self.folder / f"drill-{stamp}-{document['id'][:8]}.json"
        atomic.write(path.with_suffix(".html"), page(signed, path.name).encode())
        atomic.write(path, (json.dumps(signed, indent=2, ensure_ascii=False) + "\n").encode())
        for old in self.names()[self.limit :]:
            old.unlink(missing_ok=True)
            old.with_suffix(".html").unlink(missing_ok=True)
        return path
