"""A module that ends or hangs the process which imports it, as ENDING says."""

import os
import signal
import time

print("no GPU here, leaving", flush=True)
print("the key was sk-abcdefghijklmnop", flush=True)
match os.environ["ENDING"]:
    case "exit":
        os._exit(7)
    case "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    case "hang":
        time.sleep(1000)


def act(task: object, ctx: object) -> None: ...
