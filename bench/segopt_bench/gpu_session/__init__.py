"""One session on a machine with a GPU: everything that only such a machine can show, in one report."""
