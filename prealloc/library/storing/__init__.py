"""What the stored formats share: what stands first in each (format), what proves its tasks (stored), how it is made."""
