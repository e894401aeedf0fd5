"""What every folder uses: the two exceptions, comparison of tensors, progress, temporary folders."""
