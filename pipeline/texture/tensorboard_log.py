"""Loss curves and textures for TensorBoard (`log.tensorboard`): `tensorboard --logdir OUT` shows every photo as a run.

The file is written record by record, so that a run can be watched. Only TensorBoard's record format is used, because
its standard writers load TensorFlow, which this stage does not need.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

LOCATION = ("stage", "transfer", "scale", "step")  # keys that locate a logged step; the others are losses


class TensorBoardLog:
    """One photo's log."""

    def __init__(self, folder: Path) -> None:
        """folder: to create for the log."""
        folder.mkdir()
        self._path = folder / "events.out.tfevents.0.facerefiner"
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def losses(self, logged: Mapping[str, Any]) -> None:
        """Writes one entry of the loss curve in metrics.json."""
        losses = {name: value for name, value in logged.items() if name not in LOCATION}
        values = [Summary.Value(tag=f"loss/{name}", simple_value=value) for name, value in losses.items()]
        self._write(Event(wall_time=time.time(), step=logged["step"], summary=Summary(value=values)))

    def images(self, step: int, **images: np.ndarray) -> None:
        """Writes images, uint8 [H, W, 3] by name, for a step."""
        values = [Summary.Value(tag=name, image=_image(image)) for name, image in images.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        with self._path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def _image(image: np.ndarray) -> Summary.Image:  # uint8 [H, W, 3]
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    height, width = image.shape[:2]
    return Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
