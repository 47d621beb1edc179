"""The next version comes: configuration, state and positions stay, the service runs the new one,
and what was disabled stays so."""

from machine import expect
from world import CONFIG


def run(world):
    machine = world.machine
    _, following = world.packages
    before = world.pid()
    config = machine.path(CONFIG).read_text()
    world.install(following)
    expect(machine.path(CONFIG).read_text() == config, "the edited configuration stays")
    left = machine.output(f"ls {CONFIG}*").split()
    expect(any(name.endswith((".dpkg-dist", ".rpmnew")) for name in left), f"the new one lies beside it: {left}")
    world.eventually_another_pid(before, "after an upgrade")
    world.web.write(100)
    world.app.write(100)
    # A position that was lost would send the files again.
    seen = world.web.expect_delivered(world.endpoint)
    world.app.expect_delivered(world.endpoint)
    stays_disabled(world, following)
    return f"config kept, restarted, {seen} without a repeat, disabled stays disabled"


def stays_disabled(world, package):
    machine = world.machine
    machine.run("systemctl disable --now kinesis-agent")
    # Installing the same version again runs the same scripts.
    if package.suffix == ".rpm":
        machine.run(f"rpm -U --nodeps --replacepkgs /root/{package.name}")
    else:
        world.install(package)
    expect(machine.output("systemctl is-enabled kinesis-agent") == "disabled", "disabled stays disabled")
    expect(world.show("ActiveState") in ("inactive", "failed"), "what was stopped is not started")
    machine.run("systemctl enable --now kinesis-agent")
