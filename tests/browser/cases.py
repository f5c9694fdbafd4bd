"""What the page of config/sse.yaml must do in a browser. Each case is a function; its name says what holds."""

import json
import os
import pathlib
import signal
import sys
import time

from devtools import Browser, eventually
from gateway import Gateway

CHALLENGE_S, LIFETIME_S = 10, 14
MARKUP = "<img src=x onerror=alert(1)>"

LOG = """[...document.querySelectorAll('#log li')].reverse().map((item) =>
  ({ id: item.dataset.id, key: item.dataset.key, kind: item.dataset.kind, text: item.querySelector('.text').textContent }))"""


def is_live(page):
    return page.text("state") == "live"


def entries(page, key):
    log = page.evaluate(LOG)
    assert len({entry["id"] for entry in log}) == len(log), f"an event came twice: {log}"
    return [entry for entry in log if entry["key"] == key]


def values(page, key):
    return [json.loads(entry["text"])["value"] for entry in entries(page, key) if entry["kind"] == "message"]


def open_live(browser, gateway, fragment=""):
    page = browser.open(gateway.url(fragment))
    eventually("the stream is open", lambda: is_live(page))
    return page


def finish(page):
    assert page.problems() == [], page.problems()
    page.close()


def the_page_shows_what_is_published(browser, gateway):
    page = open_live(browser, gateway)
    for value in range(5):
        gateway.publish("lamp", value)
        gateway.publish("door", value)
    gateway.publish("door", None)
    eventually("all events are there", lambda: len(entries(page, "lamp")) == 5 and len(entries(page, "door")) == 6)
    assert values(page, "lamp") == values(page, "door") == [0, 1, 2, 3, 4], "in the order of each key"
    assert entries(page, "door")[-1]["kind"] == "delete"
    cards = page.evaluate("Object.fromEntries([...document.querySelectorAll('.card')].map((card) =>"
                          " [card.querySelector('h3').textContent, card.querySelector('.value').textContent]))")
    assert cards == {"lamp": "4", "door": "deleted"}, cards
    points = page.evaluate("[...document.querySelectorAll('.card polyline')].map((line) => line.getAttribute('points').split(' ').length)")
    assert points[0] == 5, points
    assert page.text("last") == page.evaluate(LOG)[-1]["id"]
    assert page.text("protocol") == "h2", page.text("protocol")
    finish(page)


def what_comes_from_the_topic_is_text(browser, gateway):
    page = open_live(browser, gateway)
    token = gateway.token()
    status, _ = gateway.request("PUT", "/events/%3Cb%3Ekey", MARKUP, token)
    assert status == 204, status
    found = eventually("the event", lambda: entries(page, "<b>key"))
    assert found[0]["text"] == MARKUP, found
    assert page.evaluate("document.querySelectorAll('main img, main b').length") == 0
    finish(page)


def nobody_reads_or_writes_without_the_role(_, gateway):
    assert gateway.request("GET", "/events")[0] == 401
    assert gateway.request("GET", "/events", token="no.such.token")[0] == 401
    assert gateway.request("PUT", "/events/lamp", "{}")[0] == 401
    assert gateway.request("PUT", "/events/lamp", "{}", gateway.token("60", "events:read"))[0] == 403
    assert gateway.request("GET", "/events", token=gateway.token("60", "events:write"))[0] == 403


def a_restart_loses_and_repeats_nothing(browser, gateway):
    """Each event has a key of its own: of a key that was written several times meanwhile, the newest value is all that a compacted topic promises."""
    page = open_live(browser, gateway)
    sent = []

    def publish(count):
        for _ in range(count):
            sent.append(len(sent))
            gateway.publish(f"counter-{sent[-1]}", sent[-1])

    def received():
        return sorted(value for number in sent for value in values(page, f"counter-{number}"))

    publish(3)
    for opens, how in enumerate([signal.SIGKILL, signal.SIGTERM], start=2):
        eventually("what was sent before", lambda: received() == sent)
        gateway.stop(how)
        eventually("the page has seen it", lambda: not is_live(page))
        gateway.start()
        publish(3)  # some of it before the browser is back
        eventually("the page is back", lambda: is_live(page))
        publish(2)
        eventually("all of it, once", lambda: received() == sent)
        assert int(page.text("opens")) == opens, page.text("opens")
    finish(page)


def a_token_is_renewed_on_the_same_connection_or_the_stream_is_cut(browser, gateway):
    """Both at once, in two contexts: on one connection one page's token would renew the other's stream."""
    began = time.monotonic()
    renewing = open_live(browser, gateway, f"#lifetime={LIFETIME_S}")
    silent = open_live(browser, gateway, f"#lifetime={LIFETIME_S}&renew=no")
    eventually("the stream is cut", lambda: silent.text("state") == "cut off", LIFETIME_S + 20)
    lasted = time.monotonic() - began
    # The token's times are whole seconds.
    assert LIFETIME_S - 1 < lasted < LIFETIME_S + 8, f"cut off after {lasted:.1f} s"
    assert is_live(renewing)
    time.sleep(max(0, began + LIFETIME_S + 2 - time.monotonic()))
    gateway.publish("late", 1)
    eventually("an event after the first token's end", lambda: values(renewing, "late") == [1])
    assert renewing.text("opens") == "1", "it was opened once"
    assert int(renewing.text("renewals")) >= 1
    answers = renewing.responses()
    streams = [answer for method, path, answer in answers if (method, path) == ("GET", "/events")]
    renewals = [answer for method, path, answer in answers if (method, path) == ("POST", "/events")]
    assert len(streams) == 1 and streams[0]["protocol"] == "h2", streams
    assert renewals and all(answer["status"] == 204 for answer in renewals), renewals
    connections = {answer["connectionId"] for answer in streams + renewals}
    assert len(connections) == 1, connections
    assert len(renewals) <= LIFETIME_S // (LIFETIME_S - CHALLENGE_S) + 2, "asked once for each token"
    finish(renewing)

    assert values(silent, "late") == [], "whose token has ended reads nothing"
    silent.click("hold")
    eventually("it goes on with a new token", lambda: is_live(silent))
    eventually("what it has missed", lambda: values(silent, "late") == [1])
    finish(silent)


CASES = [
    the_page_shows_what_is_published,
    what_comes_from_the_topic_is_text,
    nobody_reads_or_writes_without_the_role,
    a_restart_loses_and_repeats_nothing,
    a_token_is_renewed_on_the_same_connection_or_the_stream_is_cut,
]


def main():
    scratch = pathlib.Path(os.environ["SCRATCH"])
    gateway = Gateway(os.environ["SLUICE"], scratch)
    browser = Browser(os.environ["CHROMIUM"], scratch / "profile")
    try:
        gateway.start()
        for case in CASES:
            began = time.monotonic()
            case(browser, gateway)
            print(f"ok {case.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        gateway.stop()
    except BaseException:
        print(gateway.log()[-6000:], file=sys.stderr)
        raise
    finally:
        browser.close()
        gateway.stop(signal.SIGKILL)


if __name__ == "__main__":
    main()
