"""A module whose import starts a thread, so that each worker imports it by itself; and that hangs there."""

import os
import threading
import time
from pathlib import Path

from agents import act as act

threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
if b"forkserver" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():  # this is a worker
    time.sleep(1000)
