"""An outside program, as somebody else might have written it: it takes a manifest and does harm as the tasks say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from prealloc import LibraryOpened, Shard, load_shard


def main() -> None:
    shard = load_shard(sys.argv[sys.argv.index("--manifest") + 1])
    with open(os.environ["PREALLOC_RESULTS"], "a") as results:

        def tell(line: object) -> None:
            results.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
            results.flush()

        print("running", shard.id, len(shard.tasks))
        for task in shard.tasks:
            open(f"{shard.settings['signals']}/started.{task.id}.0.1.{os.getpid()}", "a").close()
            do = task.workflow.get("do", "ok")
            if do == "exit":
                print("giving up:", task.id)
                sys.exit(3)
            if do == "no line feed":
                results.write(json.dumps({"task": task.id, "result": {"success": True}}))
                sys.exit(0)
            if do == "array":
                json.dump([{"task": each.id, "result": 1} for each in shard.tasks], results, indent=task.workflow["by"])
                sys.exit(0)
            if do == "hoard":
                held = b"x" * (400 * 2**20)
                time.sleep(1000 if held else 0)
            if do in ("FIFO", "folder", "link"):
                put(do, results.name)
                time.sleep(1000)
            if do == "hang":
                subprocess.Popen(["sleep", "1000"], start_new_session=True)
                time.sleep(1000)
            if do == "tidy":

                def tidy(number: int, frame: object, folder: str = shard.settings["signals"]) -> None:
                    open(f"{folder}/terminated.{time.monotonic()}", "a").close()
                    time.sleep(0.5)
                    open(f"{folder}/tidied", "a").close()
                    sys.exit(0)

                signal.signal(signal.SIGTERM, tidy)
                open(f"{shard.settings['signals']}/ready", "a").close()
                time.sleep(1000)
            if do == "gate":
                while not os.path.exists(f"{shard.settings['signals']}/go"):
                    time.sleep(0.01)
            if do == "rubbish":
                tell("{no json")
                tell({"task": "nobody", "result": 1})
                tell({"task": task.id, "repeat": 99})
                tell({"task": task.id, "status": "splendid"})
            if do == "fail":
                tell({"task": task.id, "status": "failed", "error": {"type": "AgentError", "message": "no luck"}})
                continue
            if do == "peek":
                tell({"task": task.id, "result": peek(shard, task.workflow["paths"])})
                open(task.workflow["then"]).close()
                continue
            if do == "say":
                tell({"task": task.id, "result": task.workflow["result"]})
                continue
            if do == "nan":
                tell({"task": task.id, "result": {"success": True, "score": float("nan"), "text": "kept"}})
                continue
            for repeat in range(shard.manifest.repeats):
                tell({"task": task.id, "repeat": repeat, "result": {"success": True, "score": 0.5}, "working_s": 0.01})
            if do == "twice":
                tell({"task": task.id, "result": {"success": False}})


def peek(shard: Shard, paths: list[str]) -> dict[str, object]:
    """Which of these files can be read, and what the shard says of its slice and its lane."""
    read = []
    for path in [*paths, str(shard.slice_path)]:
        try:
            with open(path) as file:
                read.append(f"{len(file.read())} bytes")
        except LibraryOpened:
            read.append("refused")
    return {"read": read, "lane": shard.lane and shard.lane.requests_per_minute}


def put(kind: str, path: str) -> None:
    """Something else in place of the file."""
    os.remove(path)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        os.mkdir(path)
    else:
        os.symlink(__file__, path)


if __name__ == "__main__":
    main()
