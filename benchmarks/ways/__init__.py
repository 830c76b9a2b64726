"""One file per way: a whole program, as its user would write it. The harness starts it and looks from outside."""
