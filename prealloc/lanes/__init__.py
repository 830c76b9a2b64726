"""What a lane bears, and whose turn it is. Pure: clocks are arguments, nothing here waits.

`pacing` (when the next request may go), `adaptive` (how many the server turns out to bear), `halt` (when to stop),
`desk` (who asks, who is next).
"""
