"""What ``segopt label`` costs beside its work, and what more workers bring."""
