"""One paper, one file; what they promise to the loop; which class each configuration stands for."""
