"""Online: streams of frames, of which a window at a time is iterated on."""

from phaserec.online.frames import Frames
from phaserec.online.stream import Stream
from phaserec.online.window import Window

__all__ = ["Frames", "Stream", "Window"]
