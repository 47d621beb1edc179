#!/usr/bin/env python3
"""Boots machines and takes the packages through their lives: `run.py [debian11|debian12|debian13|rpm]...`

Needs root, mmdebstrap, systemd-nspawn and the packages of `make packages`. The roots are kept in
the target folder: the first run takes some minutes more.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

from machine import ROOTS, TARGET, WORK, Failed, Machine
from scenarios import delivery, faults, install, outage, reload, remove, rotate, upgrade
from world import World

SCENARIOS = [install, delivery, reload, rotate, outage, upgrade, faults, remove]
PACKAGES = TARGET / "packages"
NEXT_VERSION = "0.99.0"


def first_package(kind):
    architecture = {"deb": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()], "rpm": platform.machine()}[kind]
    found = sorted(PACKAGES.glob(f"kinesis-agent*{architecture}.{kind}"))
    if not found:
        sys.exit(f"no .{kind} for {architecture} in {PACKAGES}: run `make packages`")
    return found[-1]


def next_package(first):
    """The same content as the next version, with another configuration as it was shipped."""
    return next_deb(first) if first.suffix == ".deb" else next_rpm(first)


def next_deb(first):
    folder = WORK / "next-deb"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-R", first, folder], check=True)
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {NEXT_VERSION}-1", control.read_text()))
    shipped = folder / "etc/kinesis-agent/config.yaml"
    shipped.write_text(shipped.read_text() + "# Of the next version.\n")
    package = WORK / f"kinesis-agent_{NEXT_VERSION}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", folder, package], check=True, stdout=subprocess.DEVNULL)
    return package


def next_rpm(first):
    script = Path(__file__).resolve().parent.parent / "make-packages"
    subprocess.run([script, platform.machine(), "--next-rpm", NEXT_VERSION, WORK], check=True)
    return next(WORK.glob(f"kinesis-agent-{NEXT_VERSION}-*.rpm"))


def life_of(name, rows):
    first = first_package("rpm" if name == "rpm" else "deb")
    machine = Machine(name)
    world = None
    try:
        began = time.monotonic()
        machine.boot()
        rows.append((name, "boot", True, time.monotonic() - began, machine.output("systemctl --version").splitlines()[0]))
        world = World(machine, (first, next_package(first)))
        for scenario in SCENARIOS:
            if not passes(name, scenario, world, rows):
                return
    finally:
        if world:
            world.endpoint.stop()
        machine.shut_down()


def passes(name, scenario, world, rows):
    label = scenario.__name__.rsplit(".", 1)[1]
    began = time.monotonic()
    try:
        seen, is_good = scenario.run(world), True
    except Exception as failure:
        seen, is_good = str(failure).splitlines()[0], False
        report(name, label, failure, world)
    rows.append((name, label, is_good, time.monotonic() - began, seen))
    print(f"{name:9} {label:9} {'ok' if is_good else 'FAILED':6} {rows[-1][3]:5.1f} s  {seen}", flush=True)
    return is_good


def report(name, label, failure, world):
    if not isinstance(failure, Failed):
        traceback.print_exception(failure)
    print(f"--- {name}, {label}: {failure}\n--- the journal of the service:\n{world.log()[-6000:]}\n---", flush=True)


def main():
    names = sys.argv[1:] or list(ROOTS)
    if os.geteuid() != 0:
        sys.exit("only root can boot a machine")
    for tool in ("mmdebstrap", "systemd-nspawn", "dpkg-deb", "rpmbuild", "zstd"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install mmdebstrap systemd-container dpkg rpm zstd")
    rows = []
    for name in names:
        life_of(name, rows)
    print("\n" + "\n".join(f"{n:9} {what:9} {'ok' if good else 'FAILED':6} {took:5.1f} s  {seen}" for n, what, good, took, seen in rows))
    planned = len(names) * (len(SCENARIOS) + 1)
    good = sum(row[2] for row in rows)
    print(f"\n{good} of {planned} good")
    sys.exit(0 if good == planned else 1)


if __name__ == "__main__":
    main()
