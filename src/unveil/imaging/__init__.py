"""Image files in and out, without harming them."""
