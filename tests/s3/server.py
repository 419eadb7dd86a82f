"""A real S3 server (versitygw) over TLS, with a bucket that keeps versions and an account that only adds; and a
proxy that lies.
"""

import datetime
import http.client
import http.server
import ipaddress
import json
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from minio import Minio
from urllib3 import PoolManager

from free_ports import free_ports

ROOT = Path(__file__).parents[2]
BUCKET = "rop"
ADDER = {"accessKey": "adder", "secretKey": "only-adds-objects"}
PRUNER = {"accessKey": "pruner", "secretKey": "may-delete-objects"}
ROOT_KEYS = ("root", "root-secret-key")
LIMIT = 60.0


def binary() -> str:
    """The path of versitygw; builds it when it is not there."""
    run = subprocess.run([ROOT / "tools/s3_server.sh"], capture_output=True, text=True, check=False, timeout=1800)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def _certificate(folder: Path) -> str:
    """A certificate of its own for 127.0.0.1; returns it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s3.test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(address, False)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    return (folder / "cert.pem").read_text()


class S3Server:
    """One server; `ca_pem` is what clients trust."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.endpoint = f"https://127.0.0.1:{self.port}"
        for name in ("data", "versions", "accounts"):
            (folder / name).mkdir(parents=True)
        self.ca_pem = _certificate(folder)
        self._binary = binary()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and make bucket, accounts and their rights the first time."""
        listen = f"127.0.0.1:{self.port}"
        tls = ("--cert", self.folder / "cert.pem", "--key", self.folder / "key.pem")
        backend = ("posix", "--versioning-dir", self.folder / "versions", self.folder / "data")
        self._process = subprocess.Popen(
            [self._binary, "--port", listen, "--quiet", *tls, "--iam-dir", self.folder / "accounts", *backend],
            env={"ROOT_ACCESS_KEY_ID": ROOT_KEYS[0], "ROOT_SECRET_ACCESS_KEY": ROOT_KEYS[1]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        root = self.client(*ROOT_KEYS)
        _until(lambda: root.bucket_exists(bucket_name=BUCKET) or True)
        if not root.bucket_exists(bucket_name=BUCKET):
            root.make_bucket(bucket_name=BUCKET, object_lock=True)
            self._accounts(root)

    def _accounts(self, root: Minio) -> None:
        for each in (ADDER, PRUNER):
            words = ("--allow-insecure", "--access", ROOT_KEYS[0], "--secret", ROOT_KEYS[1])
            user = ("create-user", "-a", each["accessKey"], "-s", each["secretKey"], "-r", "user")
            subprocess.run(
                [self._binary, "admin", *words, "--endpoint-url", self.endpoint, *user],
                check=True,
                capture_output=True,
            )
        add = ["s3:PutObject", "s3:GetObject", "s3:ListBucket"]
        delete = ["s3:GetObject", "s3:ListBucket", "s3:DeleteObject"]
        allowed = [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [who["accessKey"]]},
                "Action": actions,
                "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
            }
            for who, actions in ((ADDER, add), (PRUNER, delete))
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        root.set_bucket_policy(bucket_name=BUCKET, policy=policy)

    def client(self, access: str = ROOT_KEYS[0], secret: str = ROOT_KEYS[1]) -> Minio:
        """A client of an account."""
        pool = PoolManager(ssl_context=ssl.create_default_context(cadata=self.ca_pem), retries=False)
        return Minio(
            endpoint=f"127.0.0.1:{self.port}",
            access_key=access,
            secret_key=secret,
            region="us-east-1",
            http_client=pool,
        )

    def place(self, prefix: str, credentials: dict[str, str] | None = None) -> dict[str, Any]:
        """The member `s3` of a target."""
        told = {"endpoint": self.endpoint, "bucket": BUCKET, "prefix": prefix, "caPEM": self.ca_pem}
        return told if credentials is None else {**told, "credentials": credentials}

    def stop(self) -> None:
        """Stop; what is stored stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(LIMIT)
            self._process = None


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            if condition():
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


class Liar:
    """Between a client (plain HTTP) and the server. `mode` says what it does to archives; "" lets them pass."""

    def __init__(self, server: S3Server) -> None:
        self.mode = ""
        self.asked: list[tuple[str, str]] = []
        self.released = threading.Event()
        self.upstream = (server.port, ssl.create_default_context(cadata=server.ca_pem))
        self._http = _Threads(("127.0.0.1", 0), _Lie)
        self._http.liar = self
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def place(self, prefix: str) -> dict[str, Any]:
        """The member `s3` of a target, with the credentials that only add."""
        return {"endpoint": self.endpoint, "bucket": BUCKET, "prefix": prefix, "credentials": ADDER}

    def close(self) -> None:
        """Stop."""
        self.released.set()
        self._http.shutdown()
        self._http.server_close()


class _Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    liar: Liar

    def handle_error(self, *_: object) -> None:
        """A client that gives up is no error here."""


class _Lie(http.server.BaseHTTPRequestHandler):
    """One exchange."""

    protocol_version = "HTTP/1.1"
    server: _Threads

    def handle_one(self) -> None:
        liar = self.server.liar
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        liar.asked.append((self.command, self.path))
        data = "/rop-" in self.path and "list-type" not in self.path
        if liar.mode == "hang":
            liar.released.wait()
            self.close_connection = True
        elif liar.mode.isdigit():
            self.answer(int(liar.mode), b"<html>no</html>", {"Content-Type": "text/html"})
        elif liar.mode == "redirect":
            self.answer(307, b"", {"Location": "http://127.0.0.1:1/elsewhere"})
        elif data and self.command == "PUT" and liar.mode == "forget":
            self.answer(200, b"", {"ETag": '"x"'})
        else:
            self.forward(body, data)

    def forward(self, body: bytes, data: bool) -> None:
        port, trusted = self.server.liar.upstream
        upstream = http.client.HTTPSConnection("127.0.0.1", port, context=trusted)
        upstream.request(self.command, self.path, body, dict(self.headers))
        told = upstream.getresponse()
        found = told.read()
        upstream.close()
        headers = {n: v for n, v in told.headers.items() if n.lower() not in ("content-length", "connection")}
        if data and self.command == "GET" and told.status == 200:
            found = _bent(self.server.liar.mode, found)
        self.answer(told.status, found, headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        liar = self.server.liar
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        endless = liar.mode == "endless" and status == 200
        self.send_header("Content-Length", str(1 << 40 if endless else len(body)))
        self.end_headers()
        self.wfile.write(body)
        while endless and not liar.released.is_set():
            self.wfile.write(bytes(65536))

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _bent(mode: str, data: bytes) -> bytes:
    half = len(data) // 2
    return {
        "zeros": data[:half] + bytes(len(data) - half),
        "empty": b"",
        "short": data[:half],
        "longer": data + b"x",
        "flip": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
    }.get(mode, data)
