"""History from elsewhere: CSV and Parquet files come in, rows of the history leave."""

__all__ = ["importer"]
