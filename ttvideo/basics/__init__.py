"""What every folder uses: the one exception, comparison of tensors, progress, temporary folders."""
