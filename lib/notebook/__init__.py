"""What only notebooks and batches need: parameters, records, tables, plots, stored results."""
