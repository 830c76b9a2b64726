"""Which task goes where: pure arithmetic over ids, types, spec and seed, to be checked by hand.

    rank        every task's place in a seeded order, without state
    quotas      how many tasks of each type, seat after seat
    deal        which shard takes which of them
    colouring   the even deal of a stratified sample (König's theorem)
    order       an order with the types in proportion in every prefix: of seats, and of a shard's tasks
    refusals    what cannot be planned, with the numbers and what would fit
    planner     all of that together: `choose_tasks`
    cells       the shards of every cell, on their lanes, from one sample
    matrix      what cells and shards there are, in numbers
    estimate    how long they take, and which lane ends last

No disk, no clock, no `random`; nothing depends on the order of the library or the Python version.
"""
