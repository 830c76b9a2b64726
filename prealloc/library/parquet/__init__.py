"""Libraries in Parquet, ours and foreign ones. It loads pyarrow: only who has such a file imports it."""
