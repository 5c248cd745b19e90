"""End-to-end demonstration (`sori demo`): recordings, recipes, trainings and the contents of its report."""
