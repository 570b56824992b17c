"""The networks, their registry and their files."""
