"""From MQTT to Kafka: messages come in; records, acknowledgments in order, and receipts leave."""

__all__ = ["ack_window", "forward", "kafka_writer", "receipts"]
