"""Killed by -9, or hung: systemd starts the agent anew, and no line is lost."""

import threading

from machine import expect

DROP_IN = "/etc/systemd/system/kinesis-agent.service.d/test.conf"


def run(world):
    killed = is_killed(world)
    hung = hangs(world)
    return f"kill -9: {killed}; hung: {hung}"


def is_killed(world):
    before = world.pid()
    with Writing(world.app):
        world.machine.run("systemctl kill --signal=SIGKILL --kill-who=main kinesis-agent")
        world.eventually_another_pid(before, "after kill -9")
    expect(world.show("NRestarts") == "1", f"one restart; NRestarts is {world.show('NRestarts')}")
    return world.app.expect_delivered(world.endpoint, repeats=True)


def hangs(world):
    machine = world.machine
    machine.write(DROP_IN, "[Service]\nWatchdogSec=3s\n")
    machine.run("systemctl daemon-reload && systemctl restart kinesis-agent")
    before = world.pid()
    since = world.now()
    with Writing(world.app):
        machine.run("systemctl kill --signal=SIGSTOP --kill-who=main kinesis-agent")
        world.eventually_another_pid(before, "after a hang")
    world.eventually_logged("Watchdog timeout", since)
    machine.run(f"rm {DROP_IN} && systemctl daemon-reload && systemctl restart kinesis-agent")
    return world.app.expect_delivered(world.endpoint, repeats=True)


class Writing:
    """Appends lines from a thread of its own until the block ends."""

    def __init__(self, log):
        self.log = log
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._write)

    def _write(self):
        while not self.is_over.wait(0.01):
            self.log.write(5)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
