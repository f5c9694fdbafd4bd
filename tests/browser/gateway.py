"""The gateway with config/sse.yaml on a free port, and a client that publishes to it.

Rule: the broker's records outlive the process, so that it can be killed and started again.
"""

import http.client
import json
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PORT_OF_FILE = "7143"


class Gateway:
    def __init__(self, program, scratch):
        self._program = str(pathlib.Path(program).resolve())
        self._log = scratch / "gateway.log"
        self._data = scratch / "records"
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self._folder = scratch / "config"
        shutil.copytree(ROOT / "config", self._folder)
        self._config = self._folder / "sse.yaml"
        text = self._config.read_text()
        assert PORT_OF_FILE in text
        self._config.write_text(text.replace(PORT_OF_FILE, str(self.port)))
        self._tls = ssl.create_default_context(cafile=str(self._folder / "tls/localhost.pem"))
        self._process = None

    def url(self, fragment=""):
        return f"https://localhost:{self.port}/{fragment}"

    def start(self):
        command = [self._program, "start", "-c", str(self._config), "--embedded", "--embedded-dir", str(self._data), "--cores", "none:2"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, f"the gateway ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"the gateway does not answer:\n{self.log()}"
            try:
                if self.request("GET", "/")[0] == 200:
                    assert f"listens on https://0.0.0.0:{self.port}" in self.log(), self.log()
                    return
            except OSError:
                time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        if self._process is None:
            return
        self._process.send_signal(how)
        code = self._process.wait(30)
        self._process = None
        assert code == (0 if how == signal.SIGTERM else -how), f"exit code {code}:\n{self.log()}"

    def log(self):
        return self._log.read_text(errors="replace")

    def token(self, *arguments):
        return subprocess.run([str(ROOT / "config/token"), *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def request(self, method, path, body=None, token=None):
        connection = http.client.HTTPSConnection("localhost", self.port, context=self._tls, timeout=30)
        try:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def publish(self, key, value):
        """Stores a record, `None` deletes; returns once Kafka has it."""
        method, body = ("DELETE", None) if value is None else ("PUT", json.dumps({"value": value}))
        status, _ = self.request(method, f"/events/{key}", body, self.token())
        assert status == 204, status
