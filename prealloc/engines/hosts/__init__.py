"""Runs shards on other machines: hosts, the link to them, and the engine over them."""
