"""What stored libraries share: the packed table that finds and proves their tasks. Index and pool are little else."""
