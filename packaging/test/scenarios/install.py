"""The package installs into a machine without anything prepared; the service runs and says what
to do."""

from machine import eventually, expect
from world import CONFIG, UNIT

CAP_DAC_READ_SEARCH = 0x4


def run(world):
    machine = world.machine
    first, _ = world.packages
    world.install(first)
    expect(machine.output("getent passwd kinesis-agent").endswith("/nologin"), "the user is made, without a shell")
    enabled = machine.output(f"systemctl is-enabled {UNIT}")
    expect(enabled == "enabled", f"the service is enabled; it is {enabled}")
    if first.suffix == ".rpm":
        # Packages of that family enable by preset, and start nothing.
        expect(world.show("ActiveState") == "inactive", "an rpm does not start the service")
        machine.run(f"systemctl start {UNIT}")
    world.eventually_active()
    status = eventually(lambda: world.show("StatusText"), "the service has a status text")
    expect("flow" in status and CONFIG in status, f"the status says what to do; it is {status!r}")
    world.eventually_logged("no flow is configured")
    is_the_user_alone(world)
    has_its_files(machine)
    return f"enabled, active, CapEff=0x4; “{status}”"


def is_the_user_alone(world):
    state = dict(line.split(":", 1) for line in world.proc("status").splitlines())
    user = world.machine.output("id -u kinesis-agent")
    expect(set(state["Uid"].split()) == {user}, f"it runs as {user}; Uid is {state['Uid']}")
    for which in ("CapEff", "CapPrm", "CapBnd"):
        expect(int(state[which], 16) == CAP_DAC_READ_SEARCH, f"{which} is {state[which]}")
    expect(state["NoNewPrivs"].strip() == "1" and state["Seccomp"].strip() == "2", "no new privileges, and a filter for system calls")


def has_its_files(machine):
    for path in ("/usr/share/man/man1/kinesis-agent.1.gz", "/usr/share/man/man5/kinesis-agent.yaml.5.gz", "/usr/share/bash-completion/completions/kinesis-agent"):
        # dpkg in a minimal root may be told to leave documents out; the package has them.
        listed = machine.output("dpkg -L kinesis-agent 2>/dev/null || rpm -ql kinesis-agent")
        expect(path in listed, f"{path} is in the package")
    state = machine.path("/var/lib/kinesis-agent").stat()
    expect(state.st_mode & 0o777 == 0o750, f"the state folder has mode {state.st_mode & 0o777:o}")
    machine.run("bash -n /usr/share/bash-completion/completions/kinesis-agent")
