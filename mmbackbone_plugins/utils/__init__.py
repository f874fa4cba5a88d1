"""What all rooms of the plugin share, and what knows none of them."""
