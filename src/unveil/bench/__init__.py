"""What `unveil bench` measures."""
