"""The certificates that a running server presents: renewed when they are due, replaced when that is ordered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from rop_data import issuers
from rop_data.authority import (
    ServerLeaf,
    ensure_server_certificate,
    install_server_leaf,
    issue_server_leaf,
    load_authority,
    server_leaf,
)
from rop_data.store import Site
from rop_pki import inspect
from rop_server.manage.trust import ManagementTls
from rop_server.net.tls import TlsContexts

log = structlog.get_logger("rop.server")


class Certificates:
    """Of the device ports (61000, 61001, 61002, 61005, 61006) and of the management port.

    `note(type, data)` records an event; `refuse(key ids)` ends what certificates of these L2 CAs may do.
    `management` is None while that port does not listen.
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
        self.tls = TlsContexts(site.server_chain_pem, site.server_key_pem, site.root_pem)
        self.management: ManagementTls | None = None

    def keep(self, now: datetime) -> bool:
        """Renew what is due and present it; True when the one of the device ports was."""
        if self.management is not None and self.management.keep(now.timestamp()):
            log.info("management-certificate", message="renewed")
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

    def refuse_issuers(self, key_ids: frozenset[str]) -> None:
        """See `Issuing`."""
        self._refuse(key_ids)

    @property
    def _host(self) -> str:
        return self._site.config.server_host

    def _presented(self, why: str) -> None:
        leaf = self.serving()
        self.tls.renew(leaf.chain, leaf.key)
        told = inspect(leaf.chain)
        self._note("server.certificate", {"serial": told.serial, "notAfter": told.not_after.timestamp()})
        log.info("server-certificate", message=why, serial=told.serial)
