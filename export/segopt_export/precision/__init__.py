"""FP16 and INT8, written into the graph."""
