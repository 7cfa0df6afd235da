"""An RTSP server with a counting picture, on Debian's GStreamer: for /usr/bin/python3, which has `gi`.

apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,bad,ugly}
/usr/bin/python3 tests/manual/rtsp_server.py 8554
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! timeoverlay ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 )"
)


def main() -> None:
    """Serve rtsp://127.0.0.1:PORT/cam until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_service(sys.argv[1] if len(sys.argv) > 1 else "8554")
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        sys.exit("rtsp_server: the port is taken")
    GLib.MainLoop().run()


main()
