"""Networks as static graphs: no shape depends on the data."""
