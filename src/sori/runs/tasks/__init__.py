"""What the loop is given, one file for each kind of data."""
