"""Estimators for results: pure functions of numbers, with the source of each formula.

The tasks are the sample, not the units: a task that is run five times, or in six cells, is one task. What is computed
here is computed nowhere else, so that tables, comparisons, exports and reports cannot disagree.

    rate         a rate and its interval; bounds for what is undecided; a mean score
    difference   two cells on the same tasks: difference, interval, p; two separate groups
    several      p values of several comparisons together
    repeats      pass@k and pass^k; how much of the spread is within tasks
    size         how many tasks show what

Nothing is random, so nothing has a seed. scipy is imported where it is needed, which is never before a run.
"""
