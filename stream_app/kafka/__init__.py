"""Kafka: the hardened Faust transport, exactly-once delivery, bulk recovery, our own broker."""
