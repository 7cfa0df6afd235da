"""TensorRT: building plans, and the record that is kept of each of them.

Importing these modules loads neither TensorRT nor CUDA; :func:`segopt.tensorrt.flavor.find_flavor` does.
"""
