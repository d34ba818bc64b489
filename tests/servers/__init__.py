"""The real servers that tests start: Mosquitto, Apache Kafka, Prometheus. Each is a context manager and a fixture."""
