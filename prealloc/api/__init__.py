"""prealloc from Python. No pixels here.

    plans   plan(), verify(), diff()                          library --read--> plan
    runs    run(), resume(), status(), outcomes(), results()  plan --ship--> run --fold--> results

Neither loads the other: who plans needs no engines, who runs needs no libraries.
"""
