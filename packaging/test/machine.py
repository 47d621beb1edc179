"""A machine with a real systemd: a Debian root that systemd-nspawn boots.

The roots are made by mmdebstrap once and kept as archives in the target folder. Nothing in a
machine reaches further than its own loopback. Commands run in its namespaces; its files are a
folder of the host.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
WORK = TARGET / "packaging" / "test"

# What a server has anyway; procps is left out, because the service must not need it.
BASE = ["ca-certificates", "systemd", "systemd-sysv", "dbus", "logrotate", "rsyslog"]
ROOTS = {
    "debian11": ("bullseye", BASE),
    "debian12": ("bookworm", BASE),
    "debian13": ("trixie", BASE),
    "rpm": ("bookworm", BASE + ["rpm"]),
}
ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]


class Failed(Exception):
    """A scenario saw something else than it must."""


def expect(is_so, what):
    if not is_so:
        raise Failed(what)


def eventually(condition, what, seconds=60):
    """Polls until `condition` gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            # The description may be a function, which then sees the last state.
            raise Failed(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.05)


def archive_of(name):
    """The archive of a root; makes it where it is missing."""
    suite, packages = ROOTS[name]
    archive = WORK / f"{name}-{'-'.join(packages)}.tar.zst"
    if not archive.exists():
        print(f"making the root of {name} ({suite})", flush=True)
        WORK.mkdir(parents=True, exist_ok=True)
        # The suffix stays: mmdebstrap takes the format from it.
        unfinished = archive.with_name("unfinished-" + archive.name)
        log = WORK / f"{name}.mmdebstrap.log"
        # The sources are named, since those of the host are for one release alone.
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(unfinished), "http://deb.debian.org/debian"]
        with log.open("w") as output:
            subprocess.run(command, check=True, stdout=output, stderr=output)
        unfinished.rename(archive)
    return archive


class Machine:
    def __init__(self, name):
        self.name = name
        self.root = WORK / "roots" / name
        self.nspawn = None
        self.leader = None

    def boot(self):
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        subprocess.run(["tar", "--zstd", "-xf", archive_of(self.name), "-C", self.root], check=True)
        # Two machines that boot from one archive must differ.
        (self.root / "etc/machine-id").write_text("")
        console = (WORK / f"{self.name}.console").open("w")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine=it-{self.name}", "--boot", "--register=no",
             "--keep-unit", "--private-network", "--console=pipe", "--resolv-conf=off"],
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
        )
        self.leader = eventually(self._find_leader, f"{self.name} has a first process", 30)
        eventually(self._is_up, lambda: f"{self.name} has booted; it is {self.output('systemctl is-system-running')!r}", 90)

    def _find_leader(self):
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        expect(self.nspawn.poll() is None, f"systemd-nspawn has ended; see {WORK}/{self.name}.console")
        found = children.read_text().split()
        return found[0] if found else None

    def _is_up(self):
        return self.output("systemctl is-system-running") in ("running", "degraded")

    def shut_down(self):
        if self.nspawn is None:
            return
        self.run("systemctl poweroff", check=False)
        try:
            self.nspawn.wait(30)
        except subprocess.TimeoutExpired:
            # The machine's first process outlives systemd-nspawn; all others end with it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.leader), signal.SIGKILL)
            os.killpg(self.nspawn.pid, signal.SIGKILL)
            self.nspawn.wait()
        self.nspawn = None
        shutil.rmtree(self.root, ignore_errors=True)

    def inside(self, *command, namespaces="muinpC"):
        """The command line that runs `command` in the machine."""
        return ["nsenter", "-t", self.leader, *(f"-{letter}" for letter in namespaces), "--", *command]

    def run(self, command, check=True):
        """Runs a line of shell in the machine."""
        done = subprocess.run(
            self.inside(*ENVIRONMENT, "sh", "-c", command), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if check and done.returncode != 0:
            raise Failed(f"`{command}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def output(self, command):
        return self.run(command, check=False).stdout.strip()

    def path(self, path):
        """A file of the machine, as the host sees it."""
        return self.root / path.lstrip("/")

    def write(self, path, text, mode=0o644):
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def copy(self, file):
        """A file of the host, in the machine's /root."""
        shutil.copy(file, self.path("/root"))
        return f"/root/{Path(file).name}"
