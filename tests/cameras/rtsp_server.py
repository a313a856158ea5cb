"""An RTSP server with one camera on /test: a plain colour as JPEG, until it is killed. Arguments: port, colour (0xRRGGBB)."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

Gst.init(None)
port, colour = sys.argv[1], int(sys.argv[2], 16) | 0xFF000000
server = GstRtspServer.RTSPServer()
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( videotestsrc is-live=true pattern=solid-color foreground-color={colour}"
    " ! video/x-raw,format=RGB,width=320,height=240,framerate=15/1 ! videoconvert"
    # JPEG has full range, and GStreamer's encoder converts nothing by itself.
    " ! video/x-raw,format=I420,colorimetry=(string)1:4:0:0 ! jpegenc quality=95 ! rtpjpegpay name=pay0 pt=26 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/test", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
