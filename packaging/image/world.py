"""What the test of the image is made of: an endpoint that counts, podman, and worlds: a
container with its folders on the host. The cases are in test.py.
"""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.request

LIMIT_MIB = 64
USER = 65532
CGROUP = pathlib.Path("/sys/fs/cgroup/memory")


class Failed(Exception):
    pass


def check(holds, what):
    if not holds:
        raise Failed(what)


def wait(condition, what, seconds=60):
    """Polls until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        check(time.monotonic() < deadline, f"waited {seconds} s for {what}")
        time.sleep(0.05)
    return value


class Endpoint:
    def __init__(self, *certificate_and_key):
        script = pathlib.Path(__file__).with_name("endpoint.py")
        self.trusted = None
        self.process = subprocess.Popen(
            [sys.executable, script, *certificate_and_key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.url = f"{'https' if certificate_and_key else 'http'}://localhost:{self.port}"

    def tally(self):
        with urllib.request.urlopen(self.url, context=self.trusted) as answer:
            return json.load(answer)

    def pause(self, seconds):
        request = urllib.request.Request(f"{self.url}/pause?seconds={seconds}", method="PUT")
        urllib.request.urlopen(request).close()

    def distinct(self, letter):
        return self.tally()["distinct"].get(letter, 0)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Podman:
    """Images and containers of the test's own, apart from those of the machine."""

    def __init__(self, folder, archive):
        self.command = [
            "podman", "--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs",
            "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
        loaded = self.run("load", "--quiet", "--input", archive).stdout
        self.image = loaded.strip().rpartition(" ")[2]

    def run(self, *arguments, code=0):
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=300)
        check(code is None or done.returncode == code,
              f"podman {' '.join(map(str, arguments))}: code {done.returncode}\n{done.stdout}{done.stderr}")
        return done


class World:
    """A container's folders on the host, its configuration, and its runs."""

    count = 0

    def __init__(self, podman, endpoint, folder, user=USER, capabilities=(), state=True, environment=()):
        World.count += 1
        self.podman, self.endpoint, self.user, self.capabilities = podman, endpoint, user, capabilities
        self.environment = environment
        self.folder = folder / f"world{World.count}"
        self.logs, self.state = self.folder / "log", self.folder / "state"
        for each in (self.logs, self.state):
            each.mkdir(parents=True)
        self.mounts = ["-v", f"{self.logs}:/var/log:ro"]
        if state:
            # The operator gives the state to the user of the container.
            os.chown(self.state, user, user)
            self.state.chmod(0o750)
            self.mounts += ["-v", f"{self.state}:/var/lib/kinesis-agent"]
        self.config = self.folder / "config.yaml"
        self.name = f"kinesis-agent-test-{os.getpid()}-{World.count}"

    def configure(self, flows):
        top = (
            f"kinesis.endpoint: {self.endpoint.url}\nkinesis.region: us-east-1\n"
            f"firehose.endpoint: {self.endpoint.url}\nfirehose.region: us-east-1\n")
        self.config.write_text(top + flows)

    def arguments(self, *command):
        limit = f"{LIMIT_MIB}m"
        return [
            "--name", self.name, "--network", "host", "-m", limit, "--memory-swap", limit, "--user", str(self.user),
            "--cap-drop=all", *(f"--cap-add={each}" for each in self.capabilities),
            "--read-only", "--read-only-tmpfs=false", "--security-opt=no-new-privileges",
            "--tmpfs", "/run/kinesis-agent:rw,noexec,nosuid,nodev,size=1m",
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
            "--env=AWS_ACCESS_KEY_ID=test", "--env=AWS_SECRET_ACCESS_KEY=test",
            *(f"--env={each}" for each in self.environment),
            *self.mounts, "-v", f"{self.config}:/etc/kinesis-agent/config.yaml:ro", self.podman.image, *command]

    def start(self, *command):
        self.podman.run("run", "--detach", *self.arguments(*command))
        self.pid = int(self.inspect("{{.State.Pid}}"))

    def run_to_its_end(self, *command):
        """Code, and what it said."""
        done = self.podman.run("run", "--rm", *self.arguments(*command), code=None)
        return done.returncode, done.stdout + done.stderr

    def inspect(self, what):
        return self.podman.run("inspect", "--format", what, self.name).stdout.strip()

    def said(self):
        done = self.podman.run("logs", self.name, code=None)
        return done.stdout + done.stderr

    def stop(self):
        """Seconds from SIGTERM to the end, which has to be clean."""
        started = time.monotonic()
        self.podman.run("stop", "--time", "30", self.name)
        took = time.monotonic() - started
        check(self.inspect("{{.State.OOMKilled}}") == "false", "the container was OOM-killed")
        code = self.inspect("{{.State.ExitCode}}")
        check(code == "0", f"the agent ended with code {code} after SIGTERM:\n{self.said()[-2000:]}")
        return took

    def again(self):
        self.podman.run("start", self.name)
        self.pid = int(self.inspect("{{.State.Pid}}"))

    def remove(self):
        self.podman.run("rm", "--force", "--time", "0", self.name, code=None)

    def process(self, key):
        """A value of /proc/PID/status as text; None after the process' end."""
        try:
            lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except FileNotFoundError:
            return None
        return next((line.split(":")[1].strip() for line in lines if line.startswith(f"{key}:")), None)

    def cgroup(self):
        lines = pathlib.Path(f"/proc/{self.pid}/cgroup").read_text().splitlines()
        path = next(line.split(":", 2)[2] for line in lines if line.split(":")[1] == "memory")
        return CGROUP / path.lstrip("/")


class Memory:
    """The highest values while the container runs. The kernel's own high-water mark of the group
    also counts the cache of the files that were read, which it gives back when it is short."""

    def __init__(self, world):
        self.world, self.group = world, world.cgroup()
        limit = int((self.group / "memory.limit_in_bytes").read_text())
        check(limit == LIMIT_MIB << 20, f"the limit of the container is {limit} bytes")
        self.anonymous = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self):
        while not self.ended.wait(0.1):
            try:
                stat = dict(line.split() for line in (self.group / "memory.stat").read_text().splitlines())
            except OSError:
                return
            self.anonymous = max(self.anonymous, int(stat["total_rss"]))

    def report(self):
        self.ended.set()
        self.thread.join()
        kills = dict(line.split() for line in (self.group / "memory.oom_control").read_text().splitlines())
        check(kills["oom_kill"] == "0", "a process of the container was OOM-killed")
        peak = int((self.group / "memory.max_usage_in_bytes").read_text())
        resident = self.world.process("VmHWM")
        fields = pathlib.Path(f"/proc/{self.world.pid}/stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return (f"CPU {seconds:.1f} s, "
                f"anonymous {self.anonymous / 2**20:.1f} MiB, VmHWM {int(resident.split()[0]) / 1024:.1f} MiB, "
                f"group with page cache {peak / 2**20:.1f} of {LIMIT_MIB} MiB, threads {self.world.process('Threads')}")
