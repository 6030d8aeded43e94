"""Another demand agent: docs/contract.md in Python, with the accept queues for its only signal.

It looks once a second and not four times, because /proc/net/tcp is dear to read: so it hears a jump after ten seconds.
"""

import http.server
import json
import os
import signal
import socket
import threading
import time

PORT = 9465
NAMES = {key: os.environ[f"MBCAS_{key.upper()}"] for key in ("namespace", "pod", "container")}
report, sampled = None, 0.0


def waiting():
    """Connections that nobody has accepted yet; None where nothing listens but this."""
    queues = []
    for table in filter(os.path.exists, ("/proc/net/tcp", "/proc/net/tcp6")):
        with open(table, encoding="ascii") as rows:
            for _, address, _, state, queue, *_ in map(str.split, list(rows)[1:]):
                if state == "0A" and int(address.split(":")[1], 16) != PORT:
                    queues.append(int(queue.split(":")[1], 16))
    return sum(queues) if queues else None


def sample():
    """Looks for ever. The least that stood in the queue in the last eight looks counts."""
    global report, sampled
    looks, average, sequence, last = [], 0.0, 0, time.monotonic()
    while True:
        try:
            queue = waiting()
        except OSError:  # Who cannot look takes no sample, and the last report grows old.
            time.sleep(1)
            continue
        now, sequence = time.monotonic(), sequence + 1
        looks = [] if queue is None else [*looks, queue][-8:]
        if looks:
            pressure = min(looks) / (min(looks) + 4)
            half_life = 1 if pressure > average else 10
            average += (pressure - average) * (1 - 2 ** ((last - now) / half_life))
        intensity = average if looks else None
        report, sampled, last = NAMES | {"demand_intensity": intensity, "sequence": sequence}, now, now
        time.sleep(1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, timeout = "HTTP/1.1", 5

    def do_GET(self):
        if report is None or not self.path.startswith("/demand"):
            return self.send_error(503 if report is None else 404)
        age = int((time.monotonic() - sampled) * 1000)
        body = json.dumps(report | {"age_ms": age}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nobody reads a line for each question."""


# The first process of a container ends on no signal that it does not ask for.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
both = socket.has_dualstack_ipv6()
family = socket.AF_INET6 if both else socket.AF_INET
server = http.server.ThreadingHTTPServer(("", PORT), Handler, bind_and_activate=False)
server.socket = socket.create_server(("", PORT), family=family, dualstack_ipv6=both)
threading.Thread(target=sample, daemon=True).start()
server.serve_forever()
