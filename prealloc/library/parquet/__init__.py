"""Libraries in Parquet, ours and foreign ones. pyarrow is loaded by who has such a file."""
