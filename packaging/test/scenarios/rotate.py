"""logrotate's own service rotates the files under the agent, also what rsyslog writes by the
distribution's own rules: each line arrives, once."""

from ledger import Log
from machine import eventually, expect
from scenarios.faults import Writing
from world import APP, WEB

RULES = """/var/log/app/*.log {
    size 1
    rotate 20
    missingok
    compress
    delaycompress
    create 0600 root root
}
"""
SYSLOG = """  - name: syslog
    filePattern: /var/log/user.log
    kinesisStream: syslog
    maxBufferAgeMillis: 200ms
"""
ROTATIONS = 3
LINES = 200


def run(world):
    machine = world.machine
    # Counting starts anew: before, repeats were allowed.
    world.app = Log(machine, "/var/log/app/app.log", "app-rotated")
    machine.path(world.app.path).unlink()
    world.configure(APP.replace("kinesisStream: app\n", "kinesisStream: app-rotated\n"), WEB, SYSLOG)
    machine.run("systemctl reload kinesis-agent")
    machine.write("/etc/logrotate.d/app", RULES)
    with Writing(world.app):
        for rotation in range(1, ROTATIONS + 1):
            machine.run("systemctl start logrotate.service")
            rotated = machine.path(f"/var/log/app/app.log.{rotation}")
            expect(rotated.exists() or rotated.with_name(rotated.name + ".gz").exists(), f"rotation {rotation} took place")
    seen = world.app.expect_delivered(world.endpoint)
    return f"{ROTATIONS} rotations: {seen}; rsyslog: {rsyslog(world)}"


def rsyslog(world):
    """rsyslog writes, and the rules that its package brings rotate, because a week has passed."""
    machine = world.machine
    sent = say(machine, 0)
    eventually(lambda: "user.log" in machine.output("ls /var/log"), "rsyslog has written /var/log/user.log")
    machine.write("/var/lib/logrotate/status", 'logrotate state -- version 2\n"/var/log/user.log" 2020-1-1-0:0:0\n')
    machine.run("systemctl start logrotate.service")
    expect(machine.path("/var/log/user.log.1").exists(), "the distribution's rules have rotated /var/log/user.log")
    sent += say(machine, LINES)

    def said():
        return [line.split("kinesis-test: ", 1)[1] for line in world.endpoint.lines("syslog") if "kinesis-test: " in line]

    eventually(lambda: len(said()) >= len(sent), lambda: f"{len(said())} of {len(sent)} lines of rsyslog arrived")
    expect(sorted(said()) == sorted(sent), "each line of rsyslog arrived once")
    return f"{len(sent)} lines"


def say(machine, first):
    lines = [f"message {number:06}" for number in range(first, first + LINES)]
    machine.write("/root/messages", "".join(line + "\n" for line in lines))
    machine.run("logger --priority user.notice --tag kinesis-test --file /root/messages")
    return lines
