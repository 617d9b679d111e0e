"""The whole product on one machine: Kafka, worker, a click stream, and a view of what comes out."""
