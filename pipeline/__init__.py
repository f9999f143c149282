"""deconv-atlas."""
