"""A model over more sources than one machine holds: units, shards, and one merged answer."""
