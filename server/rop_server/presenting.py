"""The certificates that a running server presents: renewed when they are due, replaced when that is ordered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from rop_data import issuers, roots
from rop_data.authority import (
    ServerLeaf,
    ensure_server_certificate,
    install_server_leaf,
    issue_server_leaf,
    load_authority,
    server_leaf,
)
from rop_data.layout import CertDir
from rop_data.store import Site
from rop_pki import Authority, inspect
from rop_server.manage.trust import ManagementTls
from rop_server.net.tls import TlsContexts

log = structlog.get_logger("rop.server")


@dataclass(frozen=True, slots=True)
class Trial:
    """A hierarchy to come, which these devices alone meet."""

    uids: frozenset[str]
    certs: CertDir
    authority: Authority = field(repr=False)
    tls: TlsContexts


class Certificates:
    """Of the device ports (61000, 61001, 61002, 61005, 61006) and of the management port.

    `note(type, data)` records an event; `refuse(key ids)` ends what certificates of these L2 CAs may do.
    `management` is None while that port does not listen. Whoever composes the server sets `addresses_of` (where a
    device was last) and `root_changed`.
    """

    def __init__(
        self,
        site: Site,
        note: Callable[[str, dict[str, Any]], None],
        refuse: Callable[[frozenset[str]], None],
    ) -> None:
        self._site = site
        self._note = note
        self._refuse = refuse
        self._refused: dict[str, frozenset[str]] = {}
        self._anchors: tuple[bytes, ...] = ()
        self._trial: Trial | None = None
        self.tls = TlsContexts(site.presented_pem, site.server_key_pem, self._trusted)
        self.management: ManagementTls | None = None
        self.addresses_of: Callable[[str], Iterable[str | None]] = lambda _uid: ()
        self.root_changed: Callable[[], None] = lambda: None

    def contexts(self, address: str) -> TlsContexts:
        """For a connection from this address. Only the address is known before a handshake."""
        trial = self._trial
        if trial is not None and any(address in self.addresses_of(uid) for uid in trial.uids):
            return trial.tls
        return self.tls

    def authority_for(self, uid: str) -> Authority:
        """Who signs the next certificate of this device."""
        trial = self._trial
        return trial.authority if trial is not None and uid in trial.uids else self._site.authority

    @property
    def _trusted(self) -> tuple[bytes, ...]:
        return (self._site.root_pem, *self._anchors)

    def keep(self, now: datetime) -> bool:
        """Renew what is due and present it; True when the one of the device ports was."""
        if self.management is not None and self.management.keep(now.timestamp()):
            log.info("management-certificate", message="renewed")
        if self._trial is not None:
            self.try_root(sorted(self._trial.uids), now)
        if not self._site.renew_server_certificate(now):
            return False
        self._presented("renewed")
        return True

    def document(self) -> dict[str, Any]:
        """Facts of the authority; times are epoch seconds."""
        authority, root = self._site.authority, inspect(self._site.root_pem)
        leaf, issuer = inspect(self._site.server_chain_pem), authority.intermediate
        return {
            "root": {
                "sha256": authority.root_fingerprint,
                "notAfter": root.not_after.timestamp(),
                "keyPresent": self.root_key_present,
            },
            "intermediate": {
                "keyID": authority.issuer_key_id,
                "serial": issuer.serial,
                "notAfter": issuer.not_after.timestamp(),
            },
            "serverCertificate": {"serial": leaf.serial, "notAfter": leaf.not_after.timestamp()},
            "rootPEM": self._site.root_pem.decode(),
        }

    def serving(self) -> ServerLeaf:
        """See `Presenting`."""
        return server_leaf(self._site.certs, self._host)

    def issue(self, now: datetime) -> ServerLeaf:
        """See `Presenting`."""
        return issue_server_leaf(self._site.authority, self._site.config, now)

    def usable(self, leaf: ServerLeaf, now: datetime, margin: timedelta) -> bool:
        """See `Presenting`."""
        return leaf.fits(self._site.authority, now, margin)

    def present(self, leaf: ServerLeaf) -> None:
        """See `Presenting`."""
        install_server_leaf(self._site.certs, self._host, leaf)
        self._presented("replaced")

    @property
    def root_key_present(self) -> bool:
        """See `Issuing`."""
        return (self._site.certs.root_ca / "key.pem").is_file()

    @property
    def issuer(self) -> str:
        """See `Issuing`."""
        return self._site.authority.issuer_key_id

    def other_issuer(self) -> str | None:
        """See `Issuing`."""
        return issuers.key_id(issuers.spare(self._site.certs), self._host)

    def make_issuer(self, generation: int, now: datetime) -> str:
        """See `Issuing`."""
        spelled = str(self._site.config.get("cert.workDir")).rstrip("/")
        return issuers.make_ready(self._site.certs, spelled, self._host, generation, now)

    def exchange_issuers(self, now: datetime) -> None:
        """See `Issuing`. The certificate of the server is there before the L2 CA is."""
        other = issuers.spare(self._site.certs)
        ensure_server_certificate(other, load_authority(other, self._host), self._site.config, now)
        issuers.exchange(self._site.certs)
        self._site.reload_authority()
        self._presented("replaced")

    def put_issuer_away(self) -> None:
        """See `Issuing`."""
        issuers.put_away(self._site.certs, self._host)

    def refuse_issuers(self, item: str, key_ids: frozenset[str]) -> None:
        """See `Issuing` and `Rooting`."""
        self._refused[item] = key_ids
        self._refuse(frozenset().union(*self._refused.values()))

    @property
    def root(self) -> str:
        """See `Rooting`."""
        return self._site.authority.root_fingerprint

    def root_text(self) -> str:
        """See `Rooting`."""
        return self._site.root_pem.decode()

    def other_root(self) -> str | None:
        """See `Rooting`."""
        return roots.root_of(roots.spare(self._site.certs))

    def other_root_text(self) -> str:
        """See `Rooting`."""
        return (roots.spare(self._site.certs).root_ca / "ca.pem").read_text()

    def make_root(self, generation: int, now: datetime) -> tuple[str, str]:
        """See `Rooting`."""
        spelled = str(self._site.config.get("cert.workDir")).rstrip("/")
        return roots.make_ready(self._site.certs, spelled, self._host, generation, now)

    def cross_sign(self) -> str:
        """See `Rooting`."""
        return roots.cross_sign(self._site.certs)

    def trust_roots(self, anchors: Sequence[str]) -> None:
        """See `Rooting`."""
        self._anchors = tuple(anchor.encode() for anchor in anchors)
        self.tls.trust(self._trusted)
        if self._trial is not None:
            self._trial.tls.trust(self._trusted)

    def try_root(self, uids: Sequence[str], now: datetime) -> None:
        """See `Rooting`."""
        other = roots.spare(self._site.certs)
        authority = load_authority(other, self._host)
        ensure_server_certificate(other, authority, self._site.config, now)
        leaf, known = server_leaf(other, self._host), self._trial
        chain = leaf.chain + roots.crosses(other)
        tls = TlsContexts(chain, leaf.key, self._trusted) if known is None else known.tls
        if known is not None:
            tls.renew(chain, leaf.key)
        self._trial = Trial(frozenset(uids), other, authority, tls)

    def end_trial(self) -> None:
        """See `Rooting`."""
        self._trial = None

    def exchange_roots(self, now: datetime) -> None:
        """See `Rooting`. The certificate of the server is there before its L2 CA is."""
        other = roots.spare(self._site.certs)
        ensure_server_certificate(other, load_authority(other, self._host), self._site.config, now)
        roots.exchange(self._site.certs)
        self._site.reload_authority()
        self.root_changed()
        self.tls.trust(self._trusted)
        self._presented("replaced")

    def lead_back(self, back: str) -> None:
        """See `Rooting`."""
        roots.lead_back(self._site.certs, back)

    def put_root_away(self, keep_crosses: bool) -> None:
        """See `Rooting`."""
        if not keep_crosses:
            roots.drop_crosses(self._site.certs)
            self._presented("replaced")
        roots.put_away(self._site.certs)

    @property
    def _host(self) -> str:
        return self._site.config.server_host

    def _presented(self, why: str) -> None:
        leaf = self.serving()
        self.tls.renew(self._site.presented_pem, leaf.key)
        told = inspect(leaf.chain)
        self._note("server.certificate", {"serial": told.serial, "notAfter": told.not_after.timestamp()})
        log.info("server-certificate", message=why, serial=told.serial)
