"""Libraries in parts: a folder of packed JSON lines, of which only the parts that are needed are read."""
