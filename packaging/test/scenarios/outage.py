"""The network breaks while lines are written, and is mended: the agent says so, and everything
arrives."""

from machine import eventually, expect


def run(world):
    since = world.now()
    world.endpoint.stop()
    for log in (world.app, world.web):
        log.write(500)
    world.eventually_logged("127.0.0.1:4567", since)
    expect(world.show("ActiveState") == "active", "an outage ends no agent")
    log_lines = world.log(since).count("\n") + 1
    expect(log_lines < 60, f"an outage fills no journal: {log_lines} lines")
    world.endpoint.start()
    seen = [log.expect_delivered(world.endpoint, repeats=log is world.app) for log in (world.app, world.web)]
    return f"{seen[0]} and {seen[1]}; {log_lines} lines in the journal"
