"""Sentences that more than one command says to people."""

OUT_OF_VOCABULARY = (
    "The model does not know this catalogue: more than half of the items are new to it. "
    "Predictions fall back to what follows what in the stream itself. To train on your own clicks: "
    "clickahead train FILE... --out DIR"
)
