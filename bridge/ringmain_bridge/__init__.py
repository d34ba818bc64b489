"""The bridge: MQTT to Kafka and to Prometheus; acknowledges MQTT only after Kafka has confirmed."""
