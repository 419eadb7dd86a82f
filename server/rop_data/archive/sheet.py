"""The recovery sheet: what a restore needs besides an archive and an identity. It holds no secret."""

import html
from collections.abc import Sequence
from pathlib import Path

import segno

from rop_data.archive.manifest import Header

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Recovery sheet {instance}</title>
<style>body{{font:11pt sans-serif;margin:2em;max-width:48em}}code,pre{{font:9pt monospace;overflow-wrap:anywhere;
white-space:pre-wrap}}td,th{{text-align:left;padding:.2em 1em .2em 0;vertical-align:top}}svg{{height:9em}}
section{{break-inside:avoid}}</style></head><body>
<h1>Recovery sheet</h1>
<p>Site <code>{instance}</code>, key generation {generation}, {created}. Keep this sheet apart from the
archives and from the identities.</p>
<section><h2>Root CA (SHA-256)</h2><p><code>{root}</code></p>{root_code}</section>
<section><h2>Signer</h2><p><code>{signer}</code></p>{signer_code}</section>
<section><h2>Who can open the archives</h2><table><tr><th>Name</th><th>Scope</th><th>Public key</th></tr>
{recipients}</table></section>
<section><h2>Where the archives are</h2><ul>{places}</ul></section>
<section><h2>Restore</h2><p>Stop the old server first; two servers with one identity disturb each other.</p>
<pre>{commands}</pre></section>
</body></html>"""
_COMMANDS = """rop-server archive list {folder}
rop-server restore ARCHIVE --data DIR --identity FILE \\
  --expect-signer {signer} \\
  --expect-root {root}
rop-server --data DIR"""


def _code(text: str) -> str:
    return str(segno.make(text, error="m").svg_inline(scale=3))


def render(header: Header, places: Sequence[str], folder: Path | None) -> str:
    """The sheet as one HTML page without anything to load. `places`: where the archives are kept, for people;
    `folder`: one of them on the machine itself, None: archives have to be brought first.
    """
    rows = "".join(
        f"<tr><td>{html.escape(each.name)}</td><td>{html.escape(each.scope)}</td>"
        f"<td><code>{html.escape(each.key)}</code></td></tr>\n"
        for each in header.recipients
    )
    commands = _COMMANDS.format(folder=folder or "FOLDER", signer=header.signer, root=header.root_sha256)
    return _PAGE.format(
        instance=html.escape(header.instance_id),
        generation=header.generation,
        created=html.escape(header.created),
        root=header.root_sha256,
        root_code=_code(header.root_sha256),
        signer=header.signer,
        signer_code=_code(header.signer),
        recipients=rows,
        places="".join(f"<li><code>{html.escape(each)}</code></li>" for each in places),
        commands=html.escape(commands),
    )
