"""The stream: from a click's bytes on Kafka to predictions and anomaly verdicts."""
