"""What the operating system says of processes: descent and signals, memory, control groups."""
