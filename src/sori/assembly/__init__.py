"""What the loop is given, put together from a recipe: one file for each kind of thing to train on."""
