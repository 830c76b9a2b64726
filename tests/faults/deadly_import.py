"""A module whose import starts a thread, so that each worker imports it by itself; and that kills a worker there."""

import os
import threading
import time
from pathlib import Path

from agents import act as act

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
if b"forkserver" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():  # this is a worker
    os._exit(5)
