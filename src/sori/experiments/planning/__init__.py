"""Plan training before it begins (`sori plan`): recipe, length, time, memory, disk, and what to expect."""
