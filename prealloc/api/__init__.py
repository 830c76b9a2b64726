"""prealloc from Python. Nothing is shown here.

    plans     plan(), verify(), diff()              library --read--> plan
    runs      run(), resume()                       plan --ship--> run
    outcomes  outcomes(), results()                 run --fold--> what became of every unit
    seals     check_seals()                         whether a run's journal was edited
    status    status()                              how far a run is
    compare   compare()                             which model is better on the same tasks; size: how many tasks
    reports   write_report()                        a run as one page; export: as a table; rescore: judged again
    debug     one unit, in this process
    shards    load_shard()                          one shard, for a program of your own
    doctor    diagnose(), repair()                  what is wrong, with a machine or a run
    memory    compare_memory()                      what ways to give workers their tasks take here

    sources      the libraries of a plan, one for each difficulty
    estimates    how long a plan will take
    experiments  what is read of an experiment; joining: a run that joins one
    located      units with the run they are of
    keywords     what run() and resume() take; chosen: worker, engine and options of a run, tried
    given_plan   the plan of a run, and what its units are known by
    memory_run   a process that memory measures

Plans, runs and the doctor do not load each other: planning needs no engines, running needs no libraries.
"""
