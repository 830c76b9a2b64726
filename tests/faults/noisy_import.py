"""A module that prints when it is imported: what the fork server keeps of it goes to logs/import.log."""

from agents import act as act

print("imported")
