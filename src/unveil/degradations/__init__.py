"""Clean images to degraded ones, seeded."""
