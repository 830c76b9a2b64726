"""What a lane allows, and whose turn it is. Clocks are arguments, nothing here waits.

`pacing` (when the next request may go), `adaptive` (how many the server turns out to allow), `breaker` (when to stop),
`limiter` (which holder asks, which is next), `accounts` (what other runs have taken): pure. `sharing` and `lane_file`
keep the accounts on disk.
"""
