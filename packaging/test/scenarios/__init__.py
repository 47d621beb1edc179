"""One script for each thing that must work; `run(world)` says in a few words what it saw.

The order counts: they are the life of one installation.
"""
