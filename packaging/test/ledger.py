"""What was written and what was delivered, to be compared line by line."""

import collections
import json
import subprocess
import sys
import time
from pathlib import Path

from machine import WORK, eventually, expect


class Endpoint:
    """The server of endpoint.py, on the loopback of a machine."""

    URL = "http://127.0.0.1:4567"

    def __init__(self, machine):
        self.machine = machine
        self.file = WORK / f"{machine.name}.delivered"
        self.file.unlink(missing_ok=True)
        self.file.touch()
        self.process = None
        self.start()

    def start(self):
        # The machine's network with the host's Python: the roots have none.
        program = Path(__file__).parent / "endpoint.py"
        command = self.machine.inside(sys.executable, str(program), str(self.file), namespaces="n")
        self.process = subprocess.Popen(command)
        probe = self.machine.inside("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4567", namespaces="n")
        eventually(lambda: subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0, "the endpoint listens", 20)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def lines(self, stream):
        """Every line that a stream was sent, with repeats, without its newline."""
        records = map(json.loads, self.file.read_text(encoding="utf-8").splitlines())
        payloads = (record["payload"] for record in records if record["stream"] == stream)
        return [line for payload in payloads for line in payload.removesuffix("\n").split("\n")]


class Log:
    """A log file that the test writes, and the stream that its lines must reach."""

    def __init__(self, machine, path, stream, mode=0o600):
        self.machine = machine
        self.path = path
        self.stream = stream
        self.mode = mode
        self.written = []
        machine.path(path).parent.mkdir(parents=True, exist_ok=True)

    def write(self, count=1, word="line"):
        """Appends lines that occur once, as a program does that opens its file each time."""
        file = self.machine.path(self.path)
        is_new = not file.exists()
        lines = [f"{word} {self.path} {len(self.written) + n:08} {time.time_ns()}" for n in range(count)]
        with file.open("a") as log:
            log.write("".join(line + "\n" for line in lines))
        if is_new:
            file.chmod(self.mode)
        self.written += lines

    def expect_delivered(self, endpoint, repeats=False, seconds=60):
        """Waits until each written line is there, and finds what is there besides."""

        def missing():
            return set(self.written) - set(endpoint.lines(self.stream))

        eventually(lambda: not missing(), lambda: f"{len(missing())} of {len(self.written)} lines of {self.path} are delivered; first: {min(missing())!r}", seconds)
        delivered = endpoint.lines(self.stream)
        invented = set(delivered) - set(self.written)
        expect(not invented, f"{len(invented)} lines that nobody wrote, such as {list(invented)[:3]}")
        again = sum(count - 1 for count in collections.Counter(delivered).values())
        expect(repeats or not again, f"{again} lines of {self.path} came twice")
        return f"{len(self.written)} lines" + (f", {again} twice" if repeats else "")
