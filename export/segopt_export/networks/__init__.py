"""The networks that can be exported."""
