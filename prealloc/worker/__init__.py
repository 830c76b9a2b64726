"""The worker side: one process that runs the units it was shipped. It cannot reach a task library."""
