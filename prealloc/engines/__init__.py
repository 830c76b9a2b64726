"""Where shards run, and who watches over them: the engines, the supervisor of a shard, the master's loop."""
