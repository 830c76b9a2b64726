"""prealloc from Python. Nothing is shown here.

    plans   plan(), verify(), diff()                          library --read--> plan
    runs    run(), resume(), status(), outcomes(), results()  plan --ship--> run --fold--> results
    shards  load_shard()                                      one shard, for a program of your own
    doctor  diagnose(), repair()                              what is wrong, with a machine or a run
    memory  compare_memory()                                  what ways to give workers their tasks take here

    sources    the libraries of a plan, one for each difficulty
    estimates  how long a plan will take
    memory_run a process that memory measures

Plans, runs and the doctor do not load each other: planning needs no engines, running needs no libraries.
"""
