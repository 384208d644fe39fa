"""Finds the system programs that tests run against, and fetches from Debian's archive what is missing.

    python -m tools.system_programs nginx prometheus

A missing program is downloaded with apt and unpacked below `.tools/`. Nothing is installed, no service is started and
no root is needed. Where there is no apt it fails and says exactly what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = ROOT / ".tools"
SEARCH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
APT_TIMEOUT_S: Final = 300
APT_RETRIES: Final = 3
WITH_LIBRARIES: Final = frozenset({"wrk", "curl", "chromium-headless-shell", "postgresql", "redis-server"})
"""Packages that need libraries which a small system has not."""
PACKAGES: Final = {"postgres": "postgresql"}
"""Packages that are not called like their program."""
UNWRAPPED: Final = frozenset({"postgresql", "redis-server"})
"""Packages whose programs are told where their libraries are by whoever runs them (`libraries`)."""
BEHIND: Final = {
    "chromium-headless-shell": "usr/lib/chromium/chromium-headless-shell",
    "psql": "usr/lib/postgresql/*/bin/psql",
}
"""Programs that a package keeps elsewhere, and starts by a script that knows only where they would be installed."""
ALSO: Final = {"postgresql": ("psql",)}
"""Programs beside its servers that a package has for people, who do not say where libraries are."""


class FetchError(Exception):
    """A program is missing and could not be fetched; the message says what to do."""


def find(program: str) -> Path | None:
    """Return where a program is: on the path, in the usual system folders, or below `.tools`."""
    folders = [os.environ.get("PATH", ""), *SEARCH, str(TOOLS / "usr/sbin"), str(TOOLS / "usr/bin")]
    for root in (Path("/"), TOOLS):  # Debian keeps PostgreSQL's programs by version, off the path; newest first
        folders += sorted((str(path) for path in root.glob("usr/lib/postgresql/*/bin")), reverse=True)
    found = shutil.which(program, path=os.pathsep.join(folders))
    return Path(found) if found else None


def libraries() -> str:
    """Return the folders of libraries that were unpacked, as `LD_LIBRARY_PATH` has them."""
    return os.pathsep.join(sorted({str(path.parent) for path in (TOOLS / "usr/lib").rglob("*.so*")}))


def fetch(programs: list[str]) -> None:
    """Unpack the Debian packages of the programs below `.tools`.

    Raises:
        FetchError: there is no apt here, or it could not fetch them.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise FetchError(f"install {' and '.join(programs)} with your system's package manager, then run it again")
    packages = [PACKAGES.get(program, program) for program in programs]
    downloads = TOOLS / "downloads"
    for folder in (downloads, TOOLS / "apt/lists/partial", TOOLS / "apt/cache/archives/partial"):
        folder.mkdir(parents=True, exist_ok=True)
    apt = [
        "apt-get", "-qq",
        "-o", f"Dir::State::Lists={TOOLS / 'apt/lists'}",
        "-o", f"Dir::Cache={TOOLS / 'apt/cache'}",
        "-o", "APT::Sandbox::User=",
        "-o", f"Acquire::Retries={APT_RETRIES}",
    ]  # fmt: skip
    try:
        subprocess.run([*apt, "update"], check=True, timeout=APT_TIMEOUT_S)
        alone = [package for package in packages if package not in WITH_LIBRARIES]
        if alone:
            subprocess.run([*apt, "download", *alone], check=True, timeout=APT_TIMEOUT_S, cwd=downloads)
        with_libraries = sorted(WITH_LIBRARIES.intersection(packages))
        if with_libraries:
            options = ["-y", "--no-install-recommends", "--download-only", "-o", "Debug::NoLocking=1"]
            subprocess.run([*apt, *options, "install", *with_libraries], check=True, timeout=APT_TIMEOUT_S)
            for package in (TOOLS / "apt/cache/archives").glob("*.deb"):
                package.rename(downloads / package.name)
        for package in sorted(downloads.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", package, TOOLS], check=True, timeout=APT_TIMEOUT_S)
        also = [program for package in with_libraries for program in ALSO.get(package, ())]
        for program in (*sorted({*with_libraries} - UNWRAPPED), *also):
            _wrap(TOOLS / "usr/bin" / program)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"could not fetch {' '.join(programs)}; try: apt-get install {' '.join(packages)}") from error
    finally:
        shutil.rmtree(downloads, ignore_errors=True)
        shutil.rmtree(TOOLS / "apt", ignore_errors=True)


def _wrap(program: Path) -> None:
    """Let a program find the libraries that were unpacked beside it."""
    behind = BEHIND.get(program.name)
    moved = max(TOOLS.glob(behind)) if behind else program.rename(program.with_name(f"{program.name}.bin"))
    program.unlink(missing_ok=True)  # it may be a link to a script for many programs
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries()}" exec "{moved}" "$@"\n', "utf-8")
    program.chmod(0o755)


def main(programs: list[str]) -> int:
    """Make sure that every program is there; print where each is. Returns the exit code."""
    missing = [program for program in programs if find(program) is None]
    try:
        if missing:
            print(f"tests need {' and '.join(missing)}: unpacking below {TOOLS.name}/", file=sys.stderr)
            fetch(missing)
        still = [program for program in programs if find(program) is None]
        if still:
            raise FetchError(f"{' and '.join(still)} not found after fetching; install with your package manager")
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for program in programs:
        print(f"{program}: {find(program)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
