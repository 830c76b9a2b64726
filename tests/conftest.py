"""What holds for every test: it does not depend on how the suite was started."""

from __future__ import annotations

import signal

# A shell's background job ignores these, and what it starts inherits that: a test could not send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
