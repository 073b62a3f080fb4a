"""Small tables: CSV files, columns in memory and prepared datasets as features and classes."""
