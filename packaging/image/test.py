#!/usr/bin/env python3
"""Runs the image as an operator would, with podman and runc, and counts every line.

    packaging/image/test.py ARCHIVE        (make test-image; needs root, podman and runc)

The container gets 64 MiB, a read-only root, no new privileges and no capability but the one a
case is about. The endpoint listens on the loopback interface, so the container shares the
host's network. Each case is a function; a failed one ends the run with what the agent said.
IMAGE_TEST_MB says how much is written in the long case (1200).
"""

import gzip
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from world import USER, Endpoint, Failed, Memory, Podman, World, check, wait

WRITE_MB = int(os.environ.get("IMAGE_TEST_MB", "1200"))
LINE = 200
LINES_A_WRITE = 5000


def lines(letter, first, count):
    filler = "x" * (LINE - 15)
    return "".join(f"{letter}{number:012d} {filler}\n" for number in range(first, first + count)).encode()


def flow(pattern, destination, more=""):
    return f"  - filePattern: {pattern}\n    {destination}\n    initialPosition: START_OF_FILE\n{more}"


BOTH = "flows:\n" + flow("/var/log/a.log", "deliveryStream: lines", "    maxBufferAgeMillis: 1s\n") \
    + flow("/var/log/b.log", "kinesisStream: records")


def write_rotated(world, letter, megabytes):
    """Writes as fast as it can and renames the file each 50 MB. The number of lines."""
    path, number = world.logs / f"{letter}.log", 0
    generation = 0
    while number * LINE < megabytes * 1_000_000:
        with open(path, "wb", buffering=0) as log:
            path.chmod(0o644)
            while log.tell() < 50_000_000 and number * LINE < megabytes * 1_000_000:
                log.write(lines(letter, number, LINES_A_WRITE))
                number += LINES_A_WRITE
        if number * LINE < megabytes * 1_000_000:
            generation += 1
            path.rename(world.logs / f"{letter}.log.{generation}")
    return number


def full_load_in_64_mib(world):
    """As fast as it can be written and taken, with an endpoint that hangs now and then, and with
    the threads that the agent has on a large node: each could have a heap of its own."""
    world.configure(BOTH)
    world.start()
    memory = Memory(world)
    started = time.monotonic()
    written = {}
    writers = [
        threading.Thread(target=lambda letter=letter, size=size: written.update({letter: write_rotated(world, letter, size)}))
        for letter, size in (("a", WRITE_MB * 5 // 6), ("b", WRITE_MB // 6))]
    for writer in writers:
        writer.start()
    for _ in range(3):
        time.sleep(2)
        world.endpoint.pause(3)
    for writer in writers:
        writer.join()

    def arrived():
        check(world.inspect("{{.State.Running}}") == "true", f"the container has ended:\n{world.said()[-2000:]}")
        time.sleep(0.5)
        return all(world.endpoint.distinct(letter) == count for letter, count in written.items())

    try:
        wait(arrived, "all lines", 300)
    except Failed:
        raise Failed(f"lines are missing: written {written}, arrived {world.endpoint.tally()}\n{world.said()[-2000:]}")
    took = time.monotonic() - started
    report = memory.report()
    tally = world.endpoint.tally()
    check(tally["foreign"] == 0, f"lines that nobody wrote: {tally['foreignLines']}")
    check(tally["repeated"] == 0, f"{tally['repeated']} lines came twice")
    stopped = world.stop()
    return f"{sum(written.values())} lines ({tally['bytes'] / 1e6:.0f} MB) in {took:.0f} s, 0 lost, 0 repeated; " \
        f"memory: {report}; stopped in {stopped:.1f} s"


def restart_keeps_the_position(world):
    """The container is stopped and started, then removed and made anew."""
    world.configure("flows:\n" + flow("/var/log/c.log", "deliveryStream: lines", "    maxBufferAgeMillis: 100\n"))
    log = world.logs / "c.log"
    log.write_bytes(lines("c", 0, 1000))
    world.start()
    wait(lambda: world.endpoint.distinct("c") == 1000, "the first lines")
    world.stop()
    with open(log, "ab") as file:
        file.write(lines("c", 1000, 1000))
    world.again()
    wait(lambda: world.endpoint.distinct("c") == 2000, "the lines that were written while it was down")
    world.stop()
    world.remove()
    # Rotated while there is no container.
    with open(log, "ab") as file:
        file.write(lines("c", 2000, 500))
    log.rename(world.logs / "c.log.1")
    log.write_bytes(lines("c", 2500, 500))
    world.start()
    wait(lambda: world.endpoint.distinct("c") == 3000, "the lines of a rotation between two containers")
    world.stop()
    check(world.endpoint.tally()["repeated"] == 0, "lines came twice")
    return "3000 lines over three lives of the container, 0 lost, 0 repeated"


def non_root_reads_what_all_may_read(world):
    """The image's own user, without any capability: 0644 arrives; 0600 is named, and is no reason to end."""
    world.configure("flows:\n" + flow("/var/log/*.log", "deliveryStream: lines", "    maxBufferAgeMillis: 100\n"))
    (world.logs / "open.log").write_bytes(lines("d", 0, 100))
    secret = world.logs / "secret.log"
    secret.write_bytes(lines("e", 0, 100))
    secret.chmod(0o600)
    world.start()
    wait(lambda: world.endpoint.distinct("d") == 100, "the lines of the readable file")
    check(world.process("Uid").split()[1] == str(USER), f"the agent is user {world.process('Uid')}")
    check(int(world.process("CapEff"), 16) == 0, f"the agent has capabilities: {world.process('CapEff')}")
    check(world.process("NoNewPrivs") == "1", "new privileges are possible")
    run = os.stat(f"/proc/{world.pid}/root/run/kinesis-agent")
    check(run.st_uid == USER and run.st_mode & 0o200 or run.st_mode & 0o002,
          f"the agent cannot make its socket in a folder of user {run.st_uid} with mode {run.st_mode:o}")
    wait(lambda: "secret.log" in world.said(), "a word about the file that it may not read", 20)
    check(world.endpoint.distinct("e") == 0, "it read what it may not read")
    world.stop()
    return "0644 read, 0600 refused and said, CapEff 0"


def the_capability_reads_everything(world):
    """User 0 with DAC_READ_SEARCH alone, as in the DaemonSet."""
    world.configure("flows:\n" + flow("/var/log/*/secret.log", "deliveryStream: lines", "    maxBufferAgeMillis: 100\n"))
    folder = world.logs / "private"
    folder.mkdir()
    secret = folder / "secret.log"
    secret.write_bytes(lines("f", 0, 100))
    for path, mode in ((secret, 0o600), (folder, 0o700)):
        os.chown(path, 1234, 1234)
        path.chmod(mode)
    world.start()
    wait(lambda: world.endpoint.distinct("f") == 100, "the lines of a file of another user, mode 0600")
    check(int(world.process("CapEff"), 16) == 1 << 2, f"the agent has capabilities: {world.process('CapEff')}")
    world.stop()
    return "0600 of another user in his 0700 folder read, CapEff 0x4"


def kubelet(world):
    """The folders of a node, rotated and compressed as the kubelet does, and a restarted container."""
    world.configure(
        "flows:\n" + flow("[/var/log/pods/*/*/*.log, /var/log/containers/*.log]", "kinesisStream: records",
                          "    aggregation: lines\n    maxBufferAgeMillis: 100\n"
                          "    excludePattern: /var/log/pods/kinesis-agent_*\n"))
    pod, own = (world.logs / "pods" / name for name in ("shop_cart-7d4_0a1b/cart", "kinesis-agent_kinesis-agent-x_2c3d/agent"))
    links = world.logs / "containers"
    for folder in (pod, own, links):
        folder.mkdir(parents=True)
    (links / "cart-7d4_shop_cart-99.log").symlink_to("/var/log/pods/shop_cart-7d4_0a1b/cart/0.log")
    (own / "0.log").write_text("what the agent says itself\n")
    world.start()
    rotated = []
    for life in range(6):
        with open(pod / "0.log", "ab") as log:
            log.write(lines("g", life * 1000, 1000))
        if life == 0:
            wait(lambda: world.endpoint.distinct("g") == 1000, "the first lines")
        if rotated:
            whole = rotated[-1]
            part = whole.with_name(f"{whole.name}.tmp")
            part.write_bytes(gzip.compress(whole.read_bytes()))
            part.rename(whole.with_name(f"{whole.name}.gz"))
            whole.unlink()
        rotated.append(pod / f"0.log.20260101-10101{life}")
        (pod / "0.log").rename(rotated[-1])
        (pod / "0.log").touch()
    (pod / "1.log").write_bytes(lines("g", 6000, 1000))
    (links / "cart-7d4_shop_cart-99.log").unlink()
    (links / "cart-7d4_shop_cart-aa.log").symlink_to("/var/log/pods/shop_cart-7d4_0a1b/cart/1.log")
    wait(lambda: world.endpoint.distinct("g") == 7000, "the lines of all generations")
    shutil.rmtree(pod.parent)
    world.stop()
    tally = world.endpoint.tally()
    check(tally["repeated"] == tally["foreign"] == 0, f"lines came twice, or those of the agent: {tally}")
    return "7000 lines over 6 rotations and a restart, 0 lost, 0 repeated, none of the agent's own"


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def serve_tls(world):
    """Gives the world an endpoint with a certificate for localhost. The file of its authority."""
    authority, server, request = (world.folder / name for name in ("authority", "server", "request"))
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority",
            "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", f"{server}.key", "-out", request)
    (world.folder / "names").write_text("subjectAltName=DNS:localhost")
    openssl("x509", "-req", "-in", request, "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial",
            "-days", "2", "-extfile", world.folder / "names", "-out", f"{server}.pem")
    world.endpoint.close()
    world.endpoint = Endpoint(f"{server}.pem", f"{server}.key")
    world.endpoint.trusted = ssl.create_default_context(cafile=f"{authority}.pem")
    return f"{authority}.pem"


def it_trusts_the_authorities_of_the_image(world):
    """TLS: an unknown authority is refused and said; one in the bundle's place is trusted."""
    authority = serve_tls(world)
    world.configure("flows:\n" + flow("/var/log/h.log", "deliveryStream: lines", "    maxBufferAgeMillis: 100\n"))
    (world.logs / "h.log").write_bytes(lines("h", 0, 100))
    world.start()
    wait(lambda: "ertificate" in world.said() or "UnknownIssuer" in world.said(), "a word about the certificate")
    check(world.endpoint.distinct("h") == 0, "it delivered to a server that nobody vouches for")
    world.stop()
    world.remove()
    world.mounts += ["-v", f"{authority}:/etc/ssl/certs/ca-certificates.crt:ro"]
    world.start()
    wait(lambda: world.endpoint.distinct("h") == 100, "the lines by TLS")
    world.stop()
    return "an unknown authority is refused, a known one trusted"


def without_a_state_it_says_so(world):
    """No volume for the state on a read-only root: an error that names the file."""
    world.configure("flows:\n" + flow("/var/log/*.log", "deliveryStream: lines"))
    code, said = world.run_to_its_end()
    check(code not in (0, 137), f"code {code}: {said}")
    check("/var/lib/kinesis-agent" in said and "ead-only" in said, f"it does not say why: {said}")
    return f"code {code}: {said.strip().splitlines()[-1]}"


def without_a_configuration_it_says_so(world):
    world.configure("flows:\n  - filePatern: /x\n")
    code, said = world.run_to_its_end()
    check(code == 78 and "filePatern" in said, f"code {code}: {said}")
    world.config.unlink()
    world.config.mkdir()
    code, other = world.run_to_its_end()
    check(code == 78 and "/etc/kinesis-agent/config.yaml" in other, f"code {code}: {other}")
    return f"code 78: {said.strip().splitlines()[0]}"


def idle_without_flows(world):
    """An agent that has nothing to do waits, and takes little."""
    world.configure("flows: []\n")
    world.start("run", "--log-format", "json")
    wait(lambda: "{" in world.said(), "a log line as JSON", 20)
    json.loads(world.said().splitlines()[0])
    time.sleep(1)
    check(world.inspect("{{.State.Running}}") == "true", f"it ended: {world.said()}")
    resident = world.process("VmHWM")
    world.stop()
    return f"VmHWM {resident}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def the_status_answers(world):
    """The probes of the DaemonSet, and the health check of the ECS task."""
    port = free_port()
    world.configure(f"status:\n  listen: 127.0.0.1:{port}\nflows:\n"
                    + flow("/var/log/i.log", "deliveryStream: lines", "    maxBufferAgeMillis: 100\n"))
    (world.logs / "i.log").write_bytes(lines("i", 0, 100))
    world.start()
    wait(lambda: world.endpoint.distinct("i") == 100, "the lines")
    for path in ("healthz", "readyz", "metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
            check(answer.status == 200, f"/{path} answers {answer.status}")
    world.podman.run("exec", world.name, "kinesis-agent", "status")

    def settled():
        told = json.loads(world.podman.run("exec", world.name, "kinesis-agent", "status", "--json").stdout)
        return told["flows"][0]["recordsDelivered"] == 100 and told["flows"][0]["lagBytes"] == 0

    wait(settled, "a status without lag")
    world.stop()
    return "healthz, readyz, metrics and the command answer"


CASES = [
    (idle_without_flows, {}),
    (non_root_reads_what_all_may_read, {}),
    (the_capability_reads_everything, {"user": 0, "capabilities": ["DAC_READ_SEARCH"]}),
    (without_a_state_it_says_so, {"state": False}),
    (without_a_configuration_it_says_so, {}),
    (restart_keeps_the_position, {}),
    (kubelet, {"user": 0, "capabilities": ["DAC_READ_SEARCH"]}),
    (it_trusts_the_authorities_of_the_image, {}),
    (the_status_answers, {}),
    (full_load_in_64_mib, {"environment": ["TOKIO_WORKER_THREADS=32"]}),
]


def main():
    archive, *names = sys.argv[1:]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kinesis-agent-image-"))
    # The container's user has to get through to its volumes.
    folder.chmod(0o755)
    failed = 0
    try:
        podman = Podman(folder, archive)
        for case, options in CASES:
            if names and case.__name__ not in names:
                continue
            world = World(podman, Endpoint(), folder, **options)
            try:
                print(f"{case.__name__}: {case(world)}", flush=True)
            except Failed as failure:
                failed += 1
                print(f"{case.__name__}: FAILED: {failure}", flush=True)
            finally:
                world.remove()
                world.endpoint.close()
                shutil.rmtree(world.folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
