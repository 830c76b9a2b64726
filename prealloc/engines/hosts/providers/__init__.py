"""What starts hosts: one module per engine. Each is loaded in a process of its own, never in the master."""
