"""One file is edited, `systemctl reload` applies it: the lines of a file that only root may read
arrive, each once, and the process is the same."""

from machine import expect
from world import APP

SYSLOG = {"ERROR": 3, "WARN": 4, "INFO": 6}


def run(world):
    machine = world.machine
    machine.write("/etc/default/kinesis-agent", "AWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\n", 0o600)
    # The environment is that of the start.
    machine.run("systemctl restart kinesis-agent")
    world.app.write(500)
    owner = machine.output(f"stat -c '%u:%g %a' {world.app.path}")
    expect(owner == "0:0 600", f"the log is root's alone; it is {owner}")
    before = world.pid()
    world.configure(APP)
    machine.run("systemctl reload kinesis-agent")
    expect(world.pid() == before, "a reload keeps the process")
    world.app.write(500)
    seen = world.app.expect_delivered(world.endpoint)
    priorities = has_priorities(world)
    return f"{seen} from root's 0600 file; priorities {priorities}"


def has_priorities(world):
    """The journal knows our levels, and the text does not repeat them as a prefix."""
    entries = world.entries()
    levels = {int(entry["PRIORITY"]) for entry in entries}
    warned = [entry for entry in entries if "no flow is configured" in str(entry["MESSAGE"])]
    expect(warned and all(int(entry["PRIORITY"]) == SYSLOG["WARN"] for entry in warned), f"a warning has priority 4: {warned}")
    started = [entry for entry in entries if "the agent runs" in str(entry["MESSAGE"])]
    expect(started and all(int(entry["PRIORITY"]) == SYSLOG["INFO"] for entry in started), f"what is normal has priority 6: {started}")
    expect(not any(str(entry["MESSAGE"]).startswith("<") for entry in entries), "no prefix is left in the text")
    return sorted(levels)
