"""The disk: every file name, whole-file writes, locks and strict reading."""
