"""Edit distance by dynamic programming."""


def edit_distance(reference, hypothesis):
    """Return the smallest number of substitutions, insertions and deletions between two sequences."""
    row = list(range(len(hypothesis) + 1))
    for i, token in enumerate(reference, 1):
        previous, row = row, [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (token != other)))
    return row[-1]
