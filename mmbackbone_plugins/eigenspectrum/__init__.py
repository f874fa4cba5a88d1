"""What the features of a detector span: moments, spectra, and widths from them."""
