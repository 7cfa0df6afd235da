"""Trackers on the synthetic streets: who keeps identities best."""
