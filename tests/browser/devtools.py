"""A headless Chromium, driven by the DevTools protocol over two pipes: JSON, each message ended by NUL.

Rule: whatever is waited for has a deadline, and a browser that is gone is an error at once.
"""

import json
import os
import select
import subprocess
import time

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding", "--ignore-certificate-errors", "--remote-debugging-pipe",
]
PATIENCE_S = 60


class Browser:
    """The process and its one conversation."""

    def __init__(self, program, profile):
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{child_in} 4>&{child_out}'
        command = ["bash", "-c", script, "chromium", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(child_in, child_out), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(child_in)
        os.close(child_out)
        self._buffer = b""
        self._calls = 0
        self._answers = {}
        self._pages = {}

    def call(self, method, session=None, **params):
        self._calls += 1
        number = self._calls
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data):]
        deadline = time.monotonic() + PATIENCE_S
        while number not in self._answers:
            self.listen(deadline - time.monotonic(), method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def listen(self, seconds, what):
        """Takes in what the browser says next."""
        if seconds <= 0 or not select.select([self._in], [], [], seconds)[0]:
            raise TimeoutError(what)
        read = os.read(self._in, 1 << 20)
        if not read:
            raise RuntimeError("the browser is gone")
        *messages, self._buffer = (self._buffer + read).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif message.get("sessionId") in self._pages:
                self._pages[message["sessionId"]].events.append(message)

    def open(self, url):
        """A page in a context of its own: it shares no connection with others."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        for domain in ("Network", "Runtime", "Page"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=url)
        return page

    def close(self):
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (RuntimeError, TimeoutError, OSError, subprocess.TimeoutExpired):
            # Its children are in its session: none may outlive the test.
            try:
                os.killpg(self._process.pid, 9)
            except ProcessLookupError:
                pass
        self._process.wait()


class Page:
    """A tab."""

    def __init__(self, browser, session, context):
        self._browser, self._session, self._context = browser, session, context
        self.events = []

    def call(self, method, **params):
        return self._browser.call(method, self._session, **params)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, element):
        return self.evaluate(f"document.getElementById({json.dumps(element)})?.textContent")

    def click(self, element):
        self.evaluate(f"document.getElementById({json.dumps(element)}).click()")

    def responses(self):
        """What was answered so far: method, path without its query, and the response."""
        # Answers to calls come after what happened before them.
        self.evaluate("0")
        requests = {}
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event["method"] == "Network.requestWillBeSent":
                requests[params["requestId"]] = params["request"]["method"]
            elif event["method"] == "Network.responseReceived":
                response = params["response"]
                path = "/" + response["url"].split("?")[0].split("#")[0].split("/", 3)[3]
                found.append((requests.get(params["requestId"]), path, response))
        return found

    def problems(self):
        """Exceptions that no script has caught."""
        self.evaluate("0")
        thrown = (event for event in self.events if event["method"] == "Runtime.exceptionThrown")
        return [event["params"]["exceptionDetails"] for event in thrown]

    def close(self):
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)


def eventually(what, check, seconds=PATIENCE_S):
    """Waits until `check` says something true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
