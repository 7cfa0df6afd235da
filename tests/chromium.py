"""A real browser without a window: Chromium, driven through its debugging pipe with the standard library alone."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time

import pytest

NAME = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)


class Browser:
    """One page. ``evaluate`` gives what a JavaScript expression, or the promise that it gives, comes to."""

    def __init__(self, profile, *, size=(1280, 800)):
        if NAME is None:
            pytest.skip("needs Chromium: apt install chromium")
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        flags = f"--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir={profile}"
        flags += f" --remote-debugging-pipe --window-size={size[0]},{size[1]} about:blank"
        self._process = subprocess.Popen(
            # dash knows no descriptor of two digits.
            ["bash", "-c", f"exec {NAME} {flags} 3<&{commands} 4>&{answers} 2>/dev/null"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        os.close(self._commands)
        os.close(self._answers)

    def open(self, url):
        self._call("Page.navigate", url=url)

    def evaluate(self, expression):
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=30):
        deadline = time.monotonic() + seconds
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)
        return found

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            assert select.select([self._answers], [], [], 60)[0], "Chromium says nothing"
            more = os.read(self._answers, 1 << 20)
            assert more, "Chromium has ended"
            self._rest += more
        answer, _, self._rest = self._rest.partition(b"\0")
        return json.loads(answer)
