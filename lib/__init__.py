"""What the notebooks share: parameters, the record of a run, tables, pictures, stored results."""
