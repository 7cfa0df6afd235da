"""Where frames come from: pictures, video files, streams and cameras behind one small interface."""

from segopt.sources.base import Source, SourceFrame
from segopt.sources.opening import open_source

__all__ = ["Source", "SourceFrame", "open_source"]
