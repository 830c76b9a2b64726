"""How the ways to reach a task grow: with the tasks of a library, with its bytes, with the processes that share it."""
