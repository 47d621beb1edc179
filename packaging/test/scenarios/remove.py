"""The package goes: the service stops; configuration and positions stay until a purge (deb), or
as rpm has it, the edited configuration stays as .rpmsave."""

from machine import expect
from world import CONFIG


def run(world):
    return erase(world) if world.packages[0].suffix == ".rpm" else remove_and_purge(world)


def remove_and_purge(world):
    machine = world.machine
    machine.run("dpkg --remove kinesis-agent")
    is_gone(world)
    expect(machine.path(CONFIG).exists(), "the configuration stays after a removal")
    expect(has_positions(machine), "the positions stay after a removal")
    # Meanwhile lines are written, and a new installation goes on where the old one stopped.
    world.web.write(50)
    world.install(world.packages[1])
    world.eventually_active()
    world.web.expect_delivered(world.endpoint)
    machine.run("dpkg --purge kinesis-agent")
    is_gone(world)
    for path in ("/etc/kinesis-agent", "/var/lib/kinesis-agent", "/etc/systemd/system/multi-user.target.wants/kinesis-agent.service"):
        expect(not machine.path(path).is_symlink() and not machine.path(path).exists(), f"{path} is gone after a purge")
    return "remove keeps config and positions, a new install goes on, purge takes all"


def erase(world):
    machine = world.machine
    machine.run("rpm -e kinesis-agent")
    is_gone(world)
    expect(machine.path(CONFIG + ".rpmsave").exists(), "the edited configuration stays as .rpmsave")
    expect(has_positions(machine), "the positions stay")
    return "stopped and disabled, .rpmsave and positions stay"


def is_gone(world):
    machine = world.machine
    expect(world.show("ActiveState") in ("inactive", "failed"), "the service has stopped")
    expect(machine.output("pidof kinesis-agent || ls /run/kinesis-agent 2>/dev/null") == "", "no process and no socket are left")
    expect(not machine.path("/usr/bin/kinesis-agent").exists(), "the binary is gone")


def has_positions(machine):
    return machine.path("/var/lib/kinesis-agent/checkpoints.db").stat().st_size > 0
