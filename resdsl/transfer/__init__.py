"""What is done with trained networks: parts of them frozen, and deeper ones made of them."""
