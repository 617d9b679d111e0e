/*
 * The scan over all items, for model/native_scan.py, whose numpy form gives the same bits.
 *
 * Rough scores come from 7-bit integers along the first principal directions of the items; the best
 * of them are scored again in float32. Which are best is known from the maxima of blocks of items:
 * the `keep`-th largest maximum has at least `keep` items at or above it, and few more. Sums that
 * numpy must repeat are exact (integers), or taken in one order (eight float lanes over the groups,
 * then lane by lane). Compile without contraction into fused multiply-adds: -ffp-contract=off.
 */

#include <math.h>

#include "scan.h"

#define TILE_BYTES 16384 /* of items: they stay in the first cache while all rows pass over */
#define LINE_BYTES 64
#define AHEAD 4 /* vectors that are on their way while one is multiplied */

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

static float rough_exp(int32_t score, float slope, float shift)
{
    float value = (float)score * slope, result;
    int32_t bits;
    value = value + shift;
    bits = (int32_t)lrintf(value > 0.0f ? value : 0.0f);
    memcpy(&result, &bits, sizeof result);
    return result;
}

static void scan_row(const Scan *s, int64_t row, int64_t first, int64_t last)
{
    const uint8_t *query = s->query + row * s->dims;
    float *sums = s->sums + row * LANES;
    for (int64_t group = first; group < last; group++) {
        const int8_t *items = s->items + group * LANES * s->dims;
        int32_t *maximum = s->maxima + row * blocks_of(s) + group / s->block;
        for (int64_t lane = 0; lane < LANES; lane++) {
            int32_t score = s->bias[group * LANES + lane];
            for (int64_t d = 0; d < s->dims; d++)
                score += query[d] * items[d / CHUNK * LANES * CHUNK + lane * CHUNK + d % CHUNK];
            sums[lane] += rough_exp(score, s->slope[row], s->shift);
            s->scores[(row * s->groups + group) * LANES + lane] = score;
            if (score > *maximum) *maximum = score;
        }
    }
}

static void scan_plain(const Scan *s, int64_t first, int64_t last)
{
    for (int64_t row = 0; row < s->rows; row++) scan_row(s, row, first, last);
}

static uint32_t reach_plain(const int32_t *scores, int32_t limit)
{
    uint32_t reach = 0;
    for (int lane = 0; lane < LANES; lane++) reach |= (uint32_t)(scores[lane] >= limit) << lane;
    return reach;
}

static void choose_plain(const Scan *s, int64_t row)
{
    choose(s, row, reach_plain);
}

static float dot_plain(const float *a, const float *b, int64_t width)
{
    float lanes[LANES] = {0};
    for (int64_t d = 0; d < width; d += LANES)
        for (int64_t lane = 0; lane < LANES; lane++) lanes[lane] += a[d + lane] * b[d + lane];
    return summed(lanes);
}

static const Form PLAIN_FORM = {scan_plain, choose_plain, dot_plain};
static const Form *const FORMS[] = {
    &PLAIN_FORM,
#if HAS_X86_FORMS
    &AVX2_FORM,
    &VNNI_FORM,
#endif
};

/* Of this interface; model/native_scan.py takes no other one. */
EXPORT int32_t scan_version(void)
{
    return 2;
}

/* The last one of FORMS that this processor can run. */
EXPORT int32_t scan_best_form(void)
{
#if HAS_X86_FORMS
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"))
        return 2;
    return __builtin_cpu_supports("avx2") != 0;
#else
    return 0;
#endif
}

/* Rough scores of all rows: the best `keep` of each into `found`, and the sums of exp. */
EXPORT void scan_rough(const Scan *s, int32_t form)
{
    const int64_t bytes = s->dims * LANES * s->block, blocks = blocks_of(s);
    const int64_t tile = s->block * (bytes < TILE_BYTES ? TILE_BYTES / bytes : 1);
    memset(s->sums, 0, sizeof(float) * LANES * (size_t)s->rows);
    for (int64_t i = 0; i < s->rows * blocks; i++) s->maxima[i] = INT32_MIN;
    for (int64_t first = 0; first < s->groups; first += tile)
        FORMS[form]->scan(s, first, first + tile < s->groups ? first + tile : s->groups);
    for (int64_t row = 0; row < s->rows; row++) FORMS[form]->choose(s, row);
}

/* Vectors lie far apart; while one is multiplied, the next ones come. */
static void fetch(const float *vector, int64_t width)
{
#ifdef __GNUC__
    for (int64_t d = 0; d < width; d += LINE_BYTES / (int64_t)sizeof *vector)
        __builtin_prefetch(vector + d);
#else
    (void)vector, (void)width;
#endif
}

/*
 * Exact logits of the found items: the best `top` of each row, ties to the lower code, and for the
 * caller's log-normaliser the logits of all `keep` of them and the sum of their rough exps in units
 * of 2 ** -40, which no order of summing changes.
 */
EXPORT void scan_exact(const Scan *s, const float *vectors, const float *queries, int64_t width,
                       int64_t top, int32_t form, int32_t *top_items, float *top_logits,
                       float *logits, int64_t *rough_sums)
{
    for (int64_t row = 0; row < s->rows; row++) {
        const Found *found = s->found + row * s->keep;
        const float *query = queries + row * width;
        int32_t *best_items = top_items + row * top;
        float *best = top_logits + row * top;
        int64_t filled = 0, rough = 0;
        for (int64_t i = 0; i < s->keep; i++) {
            const float *vector = vectors + (int64_t)found[i].item * width;
            int32_t item = found[i].item;
            float logit;
            if (i + AHEAD < s->keep) fetch(vectors + (int64_t)found[i + AHEAD].item * width, width);
            logit = FORMS[form]->dot(vector, query, width);
            logits[row * s->keep + i] = logit;
            rough += (int64_t)((double)rough_exp(found[i].score, s->slope[row], s->shift) *
                               1099511627776.0);
            if (filled == top && !(logit > best[top - 1] ||
                                   (logit == best[top - 1] && item < best_items[top - 1])))
                continue;
            int64_t place = filled < top ? filled++ : top - 1;
            while (place > 0 && (logit > best[place - 1] ||
                                 (logit == best[place - 1] && item < best_items[place - 1]))) {
                best[place] = best[place - 1];
                best_items[place] = best_items[place - 1];
                place--;
            }
            best[place] = logit;
            best_items[place] = item;
        }
        rough_sums[row] = rough;
    }
}
