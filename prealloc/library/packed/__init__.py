"""Packed tables of tasks: the index of a JSON file (`index`), and the pool that processes share (`pool`)."""
