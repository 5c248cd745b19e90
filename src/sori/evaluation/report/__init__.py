"""Compare systems in words and write the error report."""
