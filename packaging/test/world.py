"""What the scenarios share: a booted machine, an endpoint, the two packages, and the agent in it."""

import json
import time

from ledger import Endpoint, Log
from machine import Failed, eventually, expect

CONFIG = "/etc/kinesis-agent/config.yaml"
UNIT = "kinesis-agent.service"

TOP = f"""kinesis.region: eu-west-1
kinesis.endpoint: {Endpoint.URL}
firehose.region: eu-west-1
firehose.endpoint: {Endpoint.URL}
scanIntervalMillis: 1s
flows:
"""
APP = """  - name: app
    filePattern: /var/log/app/app.log
    kinesisStream: app
    initialPosition: START_OF_FILE
    maxBufferAgeMillis: 200ms
"""
WEB = """  - name: web
    filePattern: /srv/web/*.log
    deliveryStream: web
    initialPosition: START_OF_FILE
    maxBufferAgeMillis: 200ms
"""


class World:
    def __init__(self, machine, packages):
        self.machine = machine
        self.endpoint = Endpoint(machine)
        self.packages = packages
        self.app = Log(machine, "/var/log/app/app.log", "app")
        self.web = Log(machine, "/srv/web/access.log", "web")

    # The package manager.

    def install(self, package):
        package = self.machine.copy(package)
        if package.endswith(".rpm"):
            # Debian's packages are not in the database of rpm, so nothing would be found there.
            return self.machine.run(f"rpm -U --nodeps {package}")
        # As apt does it without a terminal: a changed configuration stays.
        return self.machine.run(f"dpkg --force-confdef --force-confold -i {package}")

    # The service.

    def show(self, *properties):
        text = self.machine.output(f"systemctl show {UNIT} -p {','.join(properties)}")
        shown = dict(line.split("=", 1) for line in text.splitlines())
        values = tuple(shown.get(name, "") for name in properties)
        return values[0] if len(values) == 1 else values

    def pid(self):
        return int(self.show("MainPID"))

    def proc(self, name):
        """A file of the agent's own folder in /proc."""
        return self.machine.output(f"cat /proc/{self.pid()}/{name}")

    def configure(self, *flows):
        self.machine.write(CONFIG, TOP + "".join(flows))

    def eventually_active(self, seconds=60):
        eventually(lambda: self.show("ActiveState") == "active", lambda: f"the service is active; it is {self.show('ActiveState', 'SubState', 'Result')}:\n{self.log()}", seconds)

    def eventually_another_pid(self, old, why, seconds=60):
        def is_new():
            state, pid = self.show("ActiveState", "MainPID")
            return state == "active" and int(pid) not in (0, old)

        eventually(is_new, lambda: f"{why}: a new process is active; it is {self.show('ActiveState', 'SubState', 'MainPID')}", seconds)

    # The journal.

    def log(self, since=None):
        """What the agent and systemd said about the service."""
        return self.machine.output(f"journalctl -u {UNIT} -o cat --no-pager" + (f" --since=@{since}" if since else ""))

    def entries(self):
        """The agent's own lines in the journal, with all fields."""
        text = self.machine.output(f"journalctl _SYSTEMD_UNIT={UNIT} -o json --no-pager")
        return [json.loads(line) for line in text.splitlines()]

    def eventually_logged(self, text, since=None, seconds=30):
        eventually(lambda: text in self.log(since), lambda: f"the journal says {text!r}; it says:\n{self.log(since)[-2000:]}", seconds)

    @staticmethod
    def now():
        return int(time.time())
