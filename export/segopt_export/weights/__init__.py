"""Weights of any origin, loaded whole or refused."""
