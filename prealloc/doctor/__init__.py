"""What `prealloc doctor` checks. Each check performs the operation it reports on. Nothing is shown here.

    machine   versions, start, machine      what runs need of this machine
    folder    locks, disk                   what they need of a folder's file system
    run       run_checks, strays            how one run folder is, and who still works on it

A check returns findings; it raises only what is not about the thing it checks.
"""
