"""The binary of the aarch64 package, under qemu: it reads a file and delivers each line.

No machine is booted: an emulated systemd would take minutes. qemu finds the libraries of aarch64
in the chroot that the binary was built in.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ledger import delivered_lines
from machine import TARGET, WORK, Failed, eventually, expect

LIBRARIES = TARGET / "packaging/rust-aarch64/usr/aarch64-linux-gnu"
LINES = 1000
PORT = 4568

CONFIG = """kinesis.region: eu-west-1
kinesis.endpoint: http://127.0.0.1:{port}
checkpointFile: {folder}/state/checkpoints.db
flows:
  - name: app
    filePattern: {folder}/app.log
    kinesisStream: app
    initialPosition: START_OF_FILE
    maxBufferAgeMillis: 200ms
"""


def run(package):
    folder = WORK / "emulated"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "-x", package, folder / "package"], check=True)
    binary = folder / "package/usr/bin/kinesis-agent"
    written = [f"emulated line {number:06}" for number in range(LINES)]
    (folder / "app.log").write_text("".join(line + "\n" for line in written))
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder, port=PORT))
    delivered = folder / "delivered"
    delivered.touch()
    endpoint = subprocess.Popen([sys.executable, Path(__file__).parent / "endpoint.py", delivered, str(PORT)])
    agent = start(binary, folder)
    try:
        eventually(lambda: len(delivered_lines(delivered, "app")) >= LINES or agent.poll() is not None, "all lines are delivered", 120)
        agent.send_signal(signal.SIGTERM)
        expect(agent.wait(60) == 0, f"it ends with 0 when asked to; it ended with {agent.returncode}:\n{(folder / 'log').read_text()}")
        expect(sorted(delivered_lines(delivered, "app")) == written, "each line is delivered, once")
    except subprocess.TimeoutExpired as late:
        raise Failed("it does not end when asked to") from late
    finally:
        for process in (agent, endpoint):
            process.kill()
            process.wait()
    return f"{LINES} lines by {machine_of(binary)}"


def start(binary, folder):
    environment = os.environ | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = ["qemu-aarch64-static", "-L", LIBRARIES, binary, "run", "--config", folder / "config.yaml"]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def machine_of(binary):
    header = subprocess.run(["readelf", "-h", binary], check=True, capture_output=True, text=True).stdout
    return next(line.split(":")[1].strip() for line in header.splitlines() if "Machine:" in line)
