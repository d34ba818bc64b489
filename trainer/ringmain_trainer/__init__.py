"""The trainer: Kafka to a history table, history to models, models to a signed repository."""
