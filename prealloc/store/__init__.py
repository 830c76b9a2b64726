"""What prealloc keeps on disk: plan folders, run folders, the journal. Files are data, never pickles."""
