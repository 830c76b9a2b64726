"""Measures what ways to give workers their tasks really take on this machine: `prealloc memory`.

    ways      the table of ways
    compare   all of them, one after the other, as far as they fit into the memory
    watch     one of them, from its start to its end
    figures   what is found

In the processes of a way (the standard library alone, or what else they load would count as theirs):

    way_*     how the way's master starts workers, and how those get their tasks
    child     what all of them do: start workers, read tasks until told to stop
    loading   json.load, or the nearest to it that the library's format allows

The way "prealloc" is the product itself: `prealloc/api/memory_run.py` is its master, `way_prealloc` holds its worker
function.
"""
