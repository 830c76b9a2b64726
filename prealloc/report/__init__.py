"""What people and programs see of prealloc: folds over events, and pictures of the folds.

Every reporter shows the same `RunProgress`; none of them decides anything.
"""
