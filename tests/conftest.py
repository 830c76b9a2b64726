"""What holds for every test: it does not depend on how the suite was started."""

from __future__ import annotations

import os
import signal
import sys

# Bytecode is kept: the tests start some thousand interpreters, and each would compile the whole package.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell's background job ignores these, and what it starts inherits that: a test could not send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
