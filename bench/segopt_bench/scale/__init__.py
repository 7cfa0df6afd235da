"""How cost grows: with canvas, batch, number of detections and length of a video."""
