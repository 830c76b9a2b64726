"""A module whose import starts a thread, so that each worker imports it by itself; and that kills a worker."""

import os
import threading
import time

from agents import act as act

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
_LINE = open("/proc/self/cmdline", "rb").read()
if os.environ.get("PREALLOC_FAULT_TEST") and os.getsid(0) == os.getpid() and b"forkserver" in _LINE:
    # The fork server leads its session too; its children, the workers, are the ones whose parent is one.
    with open(f"/proc/{os.getppid()}/cmdline", "rb") as _file:
        if b"forkserver" in _file.read():
            os._exit(5)
