"""A module whose import starts a thread, so that each worker imports it by itself, and which then hangs there."""

import os
import threading
import time

from agents import act as act

threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
with open(f"/proc/{os.getppid()}/cmdline", "rb") as _file:
    if b"forkserver" in _file.read():
        time.sleep(1000)
