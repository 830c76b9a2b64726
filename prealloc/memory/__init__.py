"""Measures what ways to give workers their tasks really take on this machine: `prealloc memory`.

    compare   all ways, one after the other         room     how many workers fit into the memory
    watch     one way, from its start to its end    figures  what is found
    footprint memory of a process                   ways     the table of ways

In the processes of a way (the standard library alone, or what else they load would count as theirs):

    way_*                   how a master of the way starts workers and how those get their tasks
    way_prealloc            the worker function that prealloc's own engine runs
    child                   places in the process tree; reading tasks until told to stop
    loading                 json.load, or what the library's format needs in its place

`prealloc/api/memory_run.py` is the master of the way "prealloc": plan and run as the product does them.
"""
