"""Makes the workflows that tasks lack, by the user's generator: in the master's hands, in a process of its own."""
