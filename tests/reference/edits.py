"""Edit distance by the textbook table."""


def edit_distance(reference, hypothesis):
    """Fewest substitutions, insertions and deletions between two sequences."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, 1):
        previous, row = row, [i]
        for j, written in enumerate(hypothesis, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (said != written)))
    return row[-1]
