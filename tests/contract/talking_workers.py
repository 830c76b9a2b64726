"""A module that prints while it is imported, as many do."""

import sys

from contract_workers import echo as echo

print("this module talks while it is imported")
print("in two lines, with a \0 between", end="")
sys.stderr.write("on both streams\n")
