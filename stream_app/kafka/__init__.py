"""Kafka: the hardened Faust transport, exactly-once delivery, bulk recovery, the embedded broker."""
