"""A real Kubernetes control plane for tests: etcd and kube-apiserver on free loopback ports, RBAC on, no node."""

import base64
import datetime
import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from free_ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN = 120.0


@dataclass
class Authority:
    """The cluster's certificate authority and the files made with it."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-cluster")])
        builder = self._builder(self.name, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(sign=True), critical=True)
        self._write("ca", self.key, builder.sign(self.key, hashes.SHA256()))

    def _builder(self, subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        pem = serialization.Encoding.PEM
        path = self.folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))

    def issue(self, name: str, common_name: str, organization: str | None = None) -> None:
        """NAME.key and NAME.crt: a client's certificate with an organization, else the API server's own."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            names.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if organization else ExtendedKeyUsageOID.SERVER_AUTH
        builder = self._builder(x509.Name(names), key.public_key())
        builder = builder.add_extension(_key_usage(sign=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if not organization:
            addresses = [x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("10.96.0.1"))]
            alternatives = [x509.DNSName("localhost"), x509.DNSName("kubernetes.default.svc"), *addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        self._write(name, key, builder.sign(self.key, hashes.SHA256()))


def _key_usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class ControlPlane:
    """A running control plane. `kubeconfig` is cluster-admin's."""

    folder: Path
    binaries: Path
    port: int = 0
    processes: list[tuple[str, "subprocess.Popen[bytes]"]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        """Cluster-admin's kubeconfig."""
        return self.folder / "admin.kubeconfig"

    def start(self) -> None:
        """Start everything and return when the API answers; about ten seconds."""
        etcd_client, etcd_peer, self.port = free_ports(3)
        authority = Authority(self.folder / "pki")
        authority.issue("apiserver", "kube-apiserver")
        authority.issue("admin", "admin", "system:masters")
        authority.issue("accounts", "accounts", "accounts")
        pki = authority.folder
        self._write_kubeconfig(
            self.kubeconfig,
            {"client-certificate": str(pki / "admin.crt"), "client-key": str(pki / "admin.key")},
        )
        self._spawn("etcd", *self._etcd_flags(etcd_client, etcd_peer))
        self._spawn("kube-apiserver", *self._api_server_flags(etcd_client))
        self._wait("/readyz")
        self._wait("/api/v1/namespaces/default")

    def _etcd_flags(self, client: int, peer: int) -> Sequence[str]:
        return (
            *("--name", "e", "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", f"http://127.0.0.1:{client}"),
            *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-cluster", f"e=http://127.0.0.1:{peer}"),
        )

    def _api_server_flags(self, etcd: int) -> Sequence[str]:
        pki = self.folder / "pki"
        return (
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            *("--bind-address=127.0.0.1", f"--secure-port={self.port}"),
            *("--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"),
            *("--authorization-mode=RBAC", f"--client-ca-file={pki}/ca.crt"),
            *(f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key"),
            *("--service-cluster-ip-range=10.96.0.0/16", "--profiling=false"),
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/accounts.crt",
            f"--service-account-signing-key-file={pki}/accounts.key",
            # No controller manager runs here, so nothing would create the accounts that this plugin asks for.
            "--disable-admission-plugins=ServiceAccount",
        )

    def _spawn(self, name: str, *flags: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(self.binaries / name), *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append((name, process))

    def _write_kubeconfig(self, path: Path, user: Mapping[str, str], namespace: str = "default") -> None:
        cluster = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority": str(self.folder / "pki" / "ca.crt"),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": dict(user)}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))

    def _context(self) -> ssl.SSLContext:
        pki = self.folder / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        return context

    def _wait(self, path: str) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            self._check_alive()
            try:
                with urllib.request.urlopen(
                    f"https://127.0.0.1:{self.port}{path}", context=self._context(), timeout=5
                ):
                    return
            except (OSError, urllib.error.URLError):
                if time.monotonic() > deadline:
                    raise AssertionError(f"{path} not ready after {READY_WITHIN:.0f} s") from None
            threading.Event().wait(0.1)

    def _check_alive(self) -> None:
        for name, process in self.processes:
            if process.poll() is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
                raise AssertionError(f"{name} ended with status {process.returncode}:\n{tail}")

    def api(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        """One call as cluster-admin; the status and the JSON answer."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, context=self._context(), timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl as cluster-admin; its output."""
        run = subprocess.run(
            [str(self.binaries / "kubectl"), f"--kubeconfig={self.kubeconfig}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert run.returncode == 0, f"kubectl {' '.join(args)}: {run.stdout}{run.stderr}"
        return run.stdout

    def apply_crds(self) -> None:
        """Create the kinds of crds/ and wait until they are served."""
        files = sorted((ROOT / "crds").glob("*.yaml"))
        assert files, "crds/ is empty: run `make generate`"
        for file in files:
            self.kubectl("apply", "--server-side", "-f", str(file))
        names = [yaml.safe_load(file.read_text())["metadata"]["name"] for file in files]
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in names))

    def namespace(self, name: str) -> str:
        """Create a namespace; its name."""
        status, answer = self.api("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert status in (201, 409), answer
        return name

    def account(self, namespace: str, name: str, rules: Sequence[Mapping[str, Any]]) -> Path:
        """A service account with a Role of these rules in its namespace only; a kubeconfig with its token."""
        base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        metadata = {"name": name}
        for path, body in (
            (f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": metadata}),
            (f"{base}/roles", {"metadata": metadata, "rules": list(rules)}),
            (f"{base}/rolebindings", {"metadata": metadata, "roleRef": role, "subjects": [subject]}),
        ):
            status, answer = self.api("POST", path, body)
            assert status == 201, answer
        status, answer = self.api(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )
        assert status == 201, answer
        path = self.folder / f"{namespace}-{name}.kubeconfig"
        self._write_kubeconfig(path, {"token": answer["status"]["token"]}, namespace)
        return path

    def secret(self, namespace: str, name: str, values: Mapping[str, bytes], referable: bool = True) -> None:
        """Create or replace a Secret; `referable` gives it the label that the operator asks for."""
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"rop.dev/referable": "true"} if referable else {},
            },
            "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(document))

    def stop(self) -> None:
        """Stop what was started, the API server first."""
        for _, process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


def binaries() -> Path:
    """The folder of kube-apiserver, etcd and kubectl; builds them when they are not there."""
    run = subprocess.run(
        [str(ROOT / "tools" / "kube_binaries.sh")], capture_output=True, text=True, check=False, timeout=3600
    )
    assert run.returncode == 0, run.stderr
    return Path(run.stdout.strip())
