"""What `prealloc doctor` looks at: probes that do the thing they tell of. No pixels here.

    machine   versions, start, machine      what runs need of this machine
    folder    locks, disk                   what they need of a folder's file system
    run       run_checks, strays            how one run folder is, and who still works on it

A check returns findings; it raises only for what is no matter of its own.
"""
