"""Real message brokers of one's own, in temporary directories, for tests and benchmarks.

    python -m tools.broker_servers

gets what is missing below `.tools/` and says what could not be got: Debian's NATS and Redis through apt, a current NATS
through the Go toolchain, Apache Kafka through Maven on the machine's Java. Nothing is installed and no root is needed.
Every server listens on loopback only, on a free port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

from tools.postgres_server import MissingError, free_port
from tools.system_programs import TOOLS, FetchError, fetch, find, libraries

NATS_VERSION: Final = "v2.15.2"
NATS_MODULE: Final = "github.com/nats-io/nats-server/v2"
CURRENT_NATS: Final = TOOLS / "nats/nats-server"
KAFKA_JARS: Final = TOOLS / "kafka"
POM: Final = Path(__file__).parent / "kafka/pom.xml"
BUILD_TIMEOUT_S: Final = 600
START_S: Final = 60.0
STOP_S: Final = 15.0
GET: Final = "python -m tools.broker_servers"


class BrokerServer:
    """One server and its directory; `remove` ends it.

    Args:
        name: what it is called when it does not start.
        below: where its directory is made; the system's place for such when it is None.
    """

    def __init__(self, name: str, below: Path | None = None) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"central-hub-{name}-", dir=below))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return what starts it."""
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        """Return the environment it is started in; None for the caller's."""
        return None

    def start(self) -> None:
        """Start it and return when it takes connections."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment(),
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self.is_ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.log()[-2_000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} was not ready within {START_S} s: {self.log()[-2_000:]}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """Say whether it takes connections."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in order."""
        self._end(signal.SIGTERM)

    @contextlib.contextmanager
    def frozen(self) -> Generator[None]:
        """Let it hang for a while, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and let go of its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """Return what it said."""
        return (self.directory / "log").read_text("utf-8", errors="replace")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


class NatsServer(BrokerServer):
    """NATS with JetStream.

    Args:
        current: the release that is built with Go, instead of Debian's.
        config: further lines of its configuration.
        sync: whether JetStream syncs each message to the disk before it acknowledges it (current only).
        below: where its directory is made.

    Raises:
        MissingError: the program is not here.
    """

    def __init__(
        self, *, current: bool = False, config: str = "", sync: bool = False, below: Path | None = None
    ) -> None:
        program = CURRENT_NATS if current else find("nats-server")
        if program is None or not program.exists():
            raise MissingError(f"NATS ({'current' if current else 'Debian'}) is not here: {GET}")
        super().__init__("nats", below)
        self._program = program
        synced = "  sync_interval: always\n" if sync else ""
        text = (
            f"listen: 127.0.0.1:{self.port}\n{config}\n"
            f'jetstream {{\n  store_dir: "{self.directory}/store"\n{synced}  max_file_store: 4GB\n}}\n'
        )
        (self.directory / "nats.conf").write_text(text, "utf-8")

    def command(self) -> list[str]:
        """Return what starts it."""
        return [str(self._program), "-c", str(self.directory / "nats.conf")]

    def is_ready(self) -> bool:
        """Say whether it takes connections, with JetStream up."""
        return super().is_ready() and "Server is ready" in self.log().rpartition("Starting nats-server")[2]


class RedisServer(BrokerServer):
    """Redis with an append-only file, synced at each write.

    Args:
        settings: further lines of its configuration.
        below: where its directory is made.

    Raises:
        MissingError: the program is not here.
    """

    def __init__(self, *, settings: str = "", below: Path | None = None) -> None:
        program = find("redis-server")
        if program is None:
            raise MissingError(f"Redis is not here: {GET}")
        super().__init__("redis", below)
        self._program = program
        lines = (
            f"bind 127.0.0.1\nport {self.port}\ndir {self.directory}\nappendonly yes\nappendfsync always\nsave ''\n"
            f"{settings}\n"
        )
        (self.directory / "redis.conf").write_text(lines, "utf-8")

    def command(self) -> list[str]:
        """Return what starts it."""
        return [str(self._program), str(self.directory / "redis.conf")]

    def environment(self) -> dict[str, str] | None:
        """Return the environment it is started in."""
        unpacked = TOOLS.resolve() in self._program.resolve().parents
        return {**os.environ, "LD_LIBRARY_PATH": libraries()} if unpacked else None

    def is_ready(self) -> bool:
        """Say whether it answers, with its file loaded."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


class KafkaServer(BrokerServer):
    """One Apache Kafka broker that is its own controller (KRaft).

    Args:
        settings: further properties.
        below: where its directory is made.

    Raises:
        MissingError: Java or the broker's archives are not here.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, below: Path | None = None) -> None:
        java = find("java")
        if java is None or not any(KAFKA_JARS.glob("kafka_2.13-*.jar")):
            raise MissingError(f"Apache Kafka is not here (it needs Java and Maven): {GET}")
        super().__init__("kafka", below)
        self._java = java
        controller = free_port()
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.directory / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "num.partitions": "1",
            "num.network.threads": "1",
            "num.io.threads": "2",
            "log.flush.interval.messages": "1",
            "initial.broker.registration.timeout.ms": "20000",
            "broker.session.timeout.ms": "6000",
            **(settings or {}),
        }
        self._properties = self.directory / "server.properties"
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), "utf-8")
        logging = "rootLogger.level=warn\nrootLogger.appenderRefs=out\nrootLogger.appenderRef.out.ref=out\n"
        logging += "appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n"
        (self.directory / "log4j2.properties").write_text(logging, "utf-8")
        done = subprocess.run(
            [*self._jvm(), "kafka.tools.StorageTool", "format", "-t", "Y2VudHJhbC1odWItdGVzdA", "-c",
             str(self._properties)], capture_output=True, check=False, timeout=START_S,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"Kafka's storage was not formatted: {done.stderr.decode(errors='replace')[-2_000:]}")

    def command(self) -> list[str]:
        """Return what starts it."""
        return [*self._jvm(), "kafka.Kafka", str(self._properties)]

    def _jvm(self) -> list[str]:
        return [
            str(self._java), "-Xmx384m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}", "-cp", f"{KAFKA_JARS}/*",
        ]  # fmt: skip


def main() -> int:
    """Get what is missing; print where each broker is, or what it would need. Returns the exit code."""
    missing = [program for program in ("nats-server", "redis-server") if find(program) is None]
    if missing:
        try:
            fetch(missing)
        except FetchError as error:
            print(f"error: {error}", file=sys.stderr)
    if not CURRENT_NATS.exists() and find("go") is not None:
        settings = {**os.environ, "GOBIN": str(CURRENT_NATS.parent), "CGO_ENABLED": "0"}
        subprocess.run(
            [str(find("go")), "install", f"{NATS_MODULE}@{NATS_VERSION}"], env=settings, check=False,
            timeout=BUILD_TIMEOUT_S,
        )  # fmt: skip
    if not any(KAFKA_JARS.glob("*.jar")) and find("mvn") is not None and find("java") is not None:
        subprocess.run(
            [str(find("mvn")), "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
             f"-DoutputDirectory={KAFKA_JARS}"], check=False, timeout=BUILD_TIMEOUT_S,
        )  # fmt: skip
    there = {
        "Debian's NATS": find("nats-server") is not None,
        "Redis": find("redis-server") is not None,
        "a current NATS": CURRENT_NATS.exists(),
        "Apache Kafka": find("java") is not None and any(KAFKA_JARS.glob("kafka_2.13-*.jar")),
    }
    needs = {"a current NATS": "go", "Apache Kafka": "java 17 and mvn"}
    for name, found in there.items():
        left_out = f"left out of the tests; it needs {needs.get(name, 'apt, or your package manager')}"
        print(f"{name}: {'here' if found else left_out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
