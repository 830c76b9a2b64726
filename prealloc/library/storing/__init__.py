"""What else stored libraries share: what stands first in each (stored), how they are made, how boxes are read."""
