"""The packed table by which stored libraries find and prove their tasks; the index and the pool are little else."""
