"""The preview as a browser sees it, without one."""

import http.client
import json
import socket
import threading
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest

from segopt.errors import UsageError
from segopt.model.categories import Category
from segopt.preview.address import Address
from segopt.preview.server import MOST_VIEWERS, PreviewServer
from segopt.results import InstanceResult, PanopticResult
from segopt.segment import Segment
from segopt.sinks.base import Finished
from segopt.sources import SourceFrame

CAR = Category(3, "car", is_thing=True, color=(0, 0, 142))
SKY = Category(9, "sky", is_thing=False, color=(70, 130, 180))


class Counted(PanopticResult):
    draws = 0

    def draw(self, frame, *, opacity=0.5):
        Counted.draws += 1
        return super().draw(frame, opacity=opacity)


def item(index=0, size=(90, 160)):
    segment_map = np.full(size, 2, np.int32)
    segment_map[10:40, 10:40] = 1
    segments = (Segment(1, 3, True, 0.9, 900), Segment(2, 9, False, 1.0, size[0] * size[1] - 900))
    frame = SourceFrame(index, np.full((*size, 3), 90, np.uint8), f"{index}", f"{index}.jpg", Fraction(index, 25))
    return Finished(frame, Counted(segment_map, segments, (CAR, SKY)))


@pytest.fixture
def server():
    Counted.draws = 0
    with PreviewServer(Address.parse("0")) as opened:
        yield opened


def port_of(server):
    return int(server.url.split(":")[2].split("/")[0])


def get(server, path="/", *, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)
    connection.request(method, path, headers={"Host": host} if host else {})
    return connection.getresponse()


def picture_of(response):
    """The next JPEG of a stream."""
    while not (line := response.fp.readline()).lower().startswith(b"content-length:"):
        assert line
    assert response.fp.readline() == b"\r\n"
    return cv2.imdecode(np.frombuffer(response.fp.read(int(line.split(b":")[1])), np.uint8), cv2.IMREAD_COLOR)


def figures_of(response):
    while not (line := response.fp.readline()).startswith(b"data:"):
        assert line
    return json.loads(line[5:])


def test_the_page_loads_nothing_from_elsewhere(server):
    response = get(server)
    body = response.read().decode()
    assert response.status == 200
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "http:" not in body
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_pictures_and_figures_come_once_for_all_viewers(server):
    tile = server.board.tile("street")
    tile.watch(lambda: {"infer": 12.34})
    tile.write(item(7, (1440, 2560)))
    viewers = [get(server, "/stream.mjpg") for _ in range(3)]
    assert [picture_of(viewer).shape for viewer in viewers] == [(720, 1280, 3)] * 3
    (shown,) = figures_of(get(server, "/events"))["tiles"]
    assert (shown["name"], shown["frame"], shown["stages"]) == ("street", 7, {"infer": 12.3})
    assert [(one["name"], one["count"], one["color"]) for one in shown["classes"]] == [
        ("car", 1, "#00008e"),
        ("sky", None, "#4682b4"),
    ]
    assert Counted.draws == 1


def test_nothing_is_drawn_while_nobody_looks(server):
    tile = server.board.tile("street")
    for i in range(20):
        tile.write(item(i))
    time.sleep(0.05)
    assert (Counted.draws, server.board.drawn) == (0, 0)
    viewer = get(server, "/stream.mjpg")
    picture_of(viewer)
    viewer.close()
    deadline = time.monotonic() + 10
    while server.board.watched:
        tile.write(item(99))
        assert time.monotonic() < deadline
        time.sleep(0.01)
    drawn = server.board.drawn
    tile.write(item(100))
    time.sleep(0.05)
    assert server.board.drawn == drawn


def test_several_sources_are_a_grid(server):
    for name in ("a", "b", "c"):
        server.board.tile(name).write(item())
    viewer = get(server, "/stream.mjpg")
    assert picture_of(viewer).shape == (720, 1280, 3)
    assert [tile["name"] for tile in figures_of(get(server, "/events"))["tiles"]] == ["a", "b", "c"]


def test_a_viewer_that_reads_nothing_makes_nobody_wait(server):
    tile = server.board.tile("street")
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    stalled = socket.create_connection(("127.0.0.1", port_of(server)))
    stalled.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    viewer = get(server, "/stream.mjpg")
    result = InstanceResult(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), (), (720, 1280), (CAR,)
    )
    for i in range(12):
        began = time.monotonic()
        tile.write(Finished(SourceFrame(i, noise, f"{i}", f"{i}.jpg"), result))
        assert time.monotonic() - began < 2
        assert picture_of(viewer).shape == (720, 1280, 3)
    viewer.close()
    deadline = time.monotonic() + 10
    while server.board.viewers > 1:
        tile.write(Finished(SourceFrame(99, noise, "99", "99.jpg"), result))
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # What the sockets hold was still taken.
    for i in range(100, 400):
        drawn = server.board.drawn
        tile.write(Finished(SourceFrame(i, noise, f"{i}", f"{i}.jpg"), result))
        seen = time.monotonic()
        while server.board.drawn == drawn and time.monotonic() - seen < 1.5:
            time.sleep(0.01)
        if server.board.drawn == drawn:
            break
    for i in range(400, 405):
        tile.write(Finished(SourceFrame(i, noise, f"{i}", f"{i}.jpg"), result))
        time.sleep(0.02)
    assert server.board.drawn == drawn
    stalled.close()


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/", {"host": "evil.example:80"}, 403),
        ("/stream.mjpg", {"host": "evil.example"}, 403),
        ("/", {"host": "192.168.1.7"}, 403),
        ("/", {"host": "localhost:1"}, 200),
        ("/", {"host": "[::1]:80"}, 200),
        ("/other", {}, 404),
        ("/../../etc/passwd", {}, 404),
        ("/", {"method": "POST"}, 405),
        ("/", {"method": "HEAD"}, 405),
        ("/", {"method": "BREW"}, 405),
    ],
)
def test_what_is_not_asked_for_rightly_is_answered_plainly(server, path, options, status, capfd):
    assert get(server, path, **options).status == status
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
def test_pages_of_other_sites_take_no_place(server, site, status):
    server.board.tile("street").write(item())
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)
    connection.request("GET", "/stream.mjpg", headers={"Sec-Fetch-Site": site})
    assert connection.getresponse().status == status
    connection.close()
    link = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)
    link.request("GET", "/", headers={"Sec-Fetch-Site": site})
    assert link.getresponse().status == 200


def test_beyond_this_machine_a_token_is_needed():
    with PreviewServer(Address.parse("0.0.0.0:0")) as server:
        port, token = port_of(server), server.url.rpartition("=")[2]
        assert len(token) > 16
        assert token not in repr(Address.parse("0.0.0.0:0"))
        for path, host, status in [
            ("/", "127.0.0.1", 403),
            ("/?token=wrong", "127.0.0.1", 403),
            ("/stream.mjpg", "127.0.0.1", 403),
            (f"/?token={token}", "evil.example", 403),
            (f"/?token={token}", f"192.168.1.7:{port}", 200),
            (f"/?token={token}", socket.gethostname(), 200),
        ]:
            assert get(server, path, host=host).status == status


def test_a_ninth_viewer_is_told_so(server):
    server.board.tile("street").write(item())
    viewers = [get(server, "/stream.mjpg") for _ in range(MOST_VIEWERS)]
    assert {viewer.status for viewer in viewers} == {200}
    assert get(server, "/stream.mjpg").status == 503
    viewers[0].close()


def test_the_end_comes_at_once_with_viewers_attached(server):
    tile = server.board.tile("street")
    tile.write(item())
    picture_of(get(server, "/stream.mjpg"))
    events = get(server, "/events")
    figures_of(events)
    rest = []
    reader = threading.Thread(target=lambda: rest.append(events.fp.read()))
    reader.start()
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 1
    reader.join(2)
    assert b"event: end" in rest[0]


def test_a_port_in_use_is_one_line(server):
    with pytest.raises(UsageError, match=r"^--preview 127.0.0.1:\d+: the port is in use; give another one$"):
        PreviewServer(Address.parse(str(port_of(server))))


@pytest.mark.parametrize("text", ["", "x", "70000", "host:", "a b:80", "-1", "1.2.3.4"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="HOST"):
        Address.parse(text)


def test_addresses():
    assert (Address.parse("8080").host, Address.parse("8080").token) == ("127.0.0.1", None)
    assert Address.parse("[::1]:80").host == "::1"
    assert Address.parse("localhost:80").token is None
    assert Address.parse("192.168.1.7:80").token
