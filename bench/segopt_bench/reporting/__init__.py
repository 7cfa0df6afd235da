"""What reports are made of: the machine, spreads, tables, progress."""
