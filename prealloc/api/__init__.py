"""prealloc from Python. No pixels here.

    plans   plan(), verify(), diff()                          library --read--> plan
    runs    run(), resume(), status(), outcomes(), results()  plan --ship--> run --fold--> results
    doctor  diagnose(), repair()                              what is wrong, with a machine or a run

None loads the others: who plans needs no engines, who runs needs no libraries.
"""
