"""A reload applies a new flow without a new process; a broken file is refused and changes
nothing; a broken file at the start is not tried again."""

from machine import eventually, expect
from world import APP, CONFIG, WEB

BROKEN = "    filePatern: /oops\n"


def run(world):
    machine = world.machine
    before = world.pid()
    world.web.write(300)
    world.configure(APP, WEB)
    machine.run("systemctl reload kinesis-agent")
    world.app.write(100)
    world.web.expect_delivered(world.endpoint)
    world.app.expect_delivered(world.endpoint)
    expect(world.pid() == before, "a reload keeps the process")
    refuses(world, before)
    is_not_restarted(world)
    return "new flow applied, PID kept; broken: reload fails, it runs on; at the start: 78, not restarted"


def refuses(world, before):
    since = world.now()
    world.configure(APP, WEB, BROKEN)
    reload = world.machine.run("systemctl reload kinesis-agent", check=False)
    expect(reload.returncode != 0, "a broken file makes `systemctl reload` fail")
    world.eventually_logged("filePattern", since)
    expect(f"{CONFIG}:" in world.log(since), f"the journal names the file and the line:\n{world.log(since)}")
    expect(world.pid() == before and world.show("ActiveState") == "active", "the agent runs on")
    for log in (world.app, world.web):
        log.write(100)
        log.expect_delivered(world.endpoint)


def is_not_restarted(world):
    machine = world.machine
    started = machine.run("systemctl restart kinesis-agent", check=False)
    expect(started.returncode != 0, "it does not start with a broken file")
    eventually(lambda: world.show("ActiveState") == "failed", lambda: f"the service has failed; it is {world.show('ActiveState', 'SubState')}")
    expect(world.show("ExecMainStatus") == "78", f"exit status 78; it is {world.show('ExecMainStatus')}")
    # RestartSec has no part in this: systemd decides at the exit, and "failed" is for good.
    expect(world.show("NRestarts") == "0", "it is not started again")
    world.configure(APP, WEB)
    machine.run("systemctl start kinesis-agent")
    world.app.write(50)
    world.app.expect_delivered(world.endpoint)
