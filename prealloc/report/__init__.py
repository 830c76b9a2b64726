"""What people and programs see of prealloc: state folded from events, and views of it.

Every reporter shows the same `RunProgress`; none of them decides anything.
"""
