"""What trains the small autoencoders that ship, and measures them."""
