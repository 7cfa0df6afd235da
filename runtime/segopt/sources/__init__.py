"""Where frames come from: pictures, video files, streams and cameras behind one small interface."""

from segopt.sources.base import Source, SourceFrame
from segopt.sources.opening import open_source
from segopt.sources.reconnect import Reconnect

__all__ = ["Reconnect", "Source", "SourceFrame", "open_source"]
