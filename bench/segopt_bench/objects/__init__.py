"""The OpenVINO backend against OpenVINO's own Python API, on the same file and pictures."""
