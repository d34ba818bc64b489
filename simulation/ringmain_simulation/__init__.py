"""Simulated substations with real physics that speak MQTT as equipment does."""
