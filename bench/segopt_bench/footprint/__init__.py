"""Memory and CPU time of whole jobs: ``segopt run`` against the same job in eager PyTorch."""
