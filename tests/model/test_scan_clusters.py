"""What skipped clusters add to the normaliser, by their second moments."""

import numpy as np

from model.scan_clusters import Clusters, log_correction


def test_the_spread_of_normal_logits_is_counted_in_full() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([0.5, 0.1, 0.3])
    clusters = Clusters(
        order=np.arange(8, dtype=np.int32),
        centre_packed=np.zeros((1, 1, 8, 4), np.int8),
        centre_bias=np.zeros(8, np.int32),
        log_weight=np.zeros(8, np.float32),
        spread=spread,
        cluster_constants=np.array([1.0, 1, 1]),
    )
    queries = rng.standard_normal((5, 3))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    items = rng.standard_normal((400_000, 3)) * np.sqrt(spread)
    true = np.log(np.exp(items @ queries.T).mean(axis=0))
    outside = np.square(queries[:, 2])
    within, lacking = log_correction(clusters, queries[:, :2].astype(np.float32), outside)
    np.testing.assert_allclose(within, true, atol=0.01)
    np.testing.assert_allclose(lacking, 0.15 * outside, rtol=1e-6)
