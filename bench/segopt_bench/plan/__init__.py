"""What a model costs on this machine: latency, frames a second with cameras, memory, and what limits them."""
