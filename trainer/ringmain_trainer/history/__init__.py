"""The history in Delta tables: Kafka records come in exactly once, frames and answers to SQL leave."""

__all__ = ["delta", "ingest", "maintenance", "query", "site_reader", "tables"]
