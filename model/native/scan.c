/*
 * The scan over items, for model/native_scan.py, whose numpy form gives the same bits.
 *
 * Rough scores come from 7-bit integers along a few directions; the best of them are scored again in
 * float32. A row scans all blocks of items or those that it names; a block passes through the cache
 * once, for all rows that scan it. Which are best is known from maxima: the `keep`-th largest of
 * them has at least `keep` items at or above it, and few more. Sums that numpy must repeat are exact
 * (integers), or taken in one order (eight float lanes over a row's groups, then lane by lane).
 * Compile without contraction into fused multiply-adds: -ffp-contract=off.
 */

#include <math.h>

#include "scan.h"

#define TILE_BYTES 16384 /* of items: they stay in the first cache while all rows pass over */
#define LINE_BYTES 64
#define AHEAD 12 /* vectors that are on their way while DOTS are multiplied */

static float rough_exp(int32_t score, float slope, float shift)
{
    float value = (float)score * slope, result;
    int32_t bits;
    value = value + shift;
    bits = (int32_t)lrintf(value > 0.0f ? value : 0.0f);
    memcpy(&result, &bits, sizeof result);
    return result;
}

static void scan_visit(const Scan *s, Visit visit, int64_t first, int64_t last)
{
    const uint8_t *query = s->query + visit.row * s->dims;
    float *sums = s->sums + visit.row * LANES;
    int32_t *maxima = maxima_of(s, visit);
    for (int64_t group = first; group < last; group++) {
        const int8_t *items = s->items + group * LANES * s->dims;
        int32_t *scores = scores_of(s, visit, group);
        for (int64_t lane = 0; lane < LANES; lane++) {
            int32_t score = s->bias[group * LANES + lane];
            for (int64_t d = 0; d < s->dims; d++)
                score += query[d] * items[d / CHUNK * LANES * CHUNK + lane * CHUNK + d % CHUNK];
            sums[lane] += rough_exp(score, s->slope[visit.row], shift_of(s, group)[lane]);
            scores[lane] = score;
            if (score > maxima[lane]) maxima[lane] = score;
        }
    }
}

static void scan_plain(const Scan *s, const Visit *visits, int64_t count, int64_t first,
                       int64_t last)
{
    for (int64_t i = 0; i < count; i++) scan_visit(s, visits[i], first, last);
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

static void dots_plain(const float *const *vectors, const float *query, int64_t width,
                       float *logits)
{
    for (int i = 0; i < DOTS; i++) {
        float lanes[LANES] = {0};
        for (int64_t d = 0; d < width; d += LANES)
            for (int64_t lane = 0; lane < LANES; lane++)
                lanes[lane] += vectors[i][d + lane] * query[d + lane];
        logits[i] = summed(lanes);
    }
}

static const Form PLAIN_FORM = {scan_plain, choose_plain, dots_plain};
static const Form *const FORMS[] = {
    &PLAIN_FORM,
#if HAS_X86_FORMS
    &AVX2_FORM,
    &VNNI_FORM,
#endif
};

/* Of this interface; model/compiled_scan.py takes no other one. */
EXPORT int32_t scan_version(void)
{
    return 5;
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

/* Which rows visit which block: those of block b are visits starts[b] .. starts[b + 1] - 1. */
static void list_visits(const Scan *s)
{
    const int64_t blocks = blocks_of(s), count = s->rows * s->taken;
    memset(s->starts, 0, sizeof *s->starts * (size_t)(blocks + 1));
    for (int64_t i = 0; i < count; i++) s->starts[s->chosen[i]]++;
    for (int64_t b = 1; b <= blocks; b++) s->starts[b] += s->starts[b - 1];
    for (int64_t i = count; i-- > 0;)
        s->visits[--s->starts[s->chosen[i]]] =
            (Visit){(int32_t)(i / s->taken), (int32_t)(i % s->taken)};
}

/* Where every row visits every block, those of one block. */
static void list_all(const Scan *s, int64_t block)
{
    for (int64_t row = 0; row < s->rows; row++)
        s->visits[row] = (Visit){(int32_t)row, (int32_t)block};
}

static void scan_block(const Scan *s, int64_t block, int32_t form)
{
    const int64_t bytes = s->dims * LANES, tile = bytes < TILE_BYTES ? TILE_BYTES / bytes : 1;
    const int64_t first = block * s->block;
    const int64_t end = first + s->block < s->groups ? first + s->block : s->groups;
    const Visit *visits = s->visits;
    int64_t count = s->rows;
    if (s->chosen) {
        visits += s->starts[block];
        count = s->starts[block + 1] - s->starts[block];
    } else {
        list_all(s, block);
    }
    for (int64_t start = first; count && start < end; start += tile)
        FORMS[form]->scan(s, visits, count, start, start + tile < end ? start + tile : end);
}

/* Rough scores of all rows: the places of the best `keep` of each, and the sums of exp. */
void scan_rough(const Scan *s, int32_t form)
{
    const int64_t lanes = s->rows * s->taken * LANES;
    memset(s->sums, 0, sizeof *s->sums * LANES * (size_t)s->rows);
    for (int64_t i = 0; i < lanes; i++) s->maxima[i] = INT32_MIN;
    if (s->chosen) list_visits(s);
    for (int64_t block = 0; block < blocks_of(s); block++) scan_block(s, block, form);
    for (int64_t row = 0; row < s->rows; row++) {
        FORMS[form]->choose(s, row);
        s->found_sums[row] = 0;
        for (int64_t i = 0; i < s->keep; i++) {
            const int64_t place = s->found[row * s->keep + i];
            const float shift = shift_of(s, place / LANES)[place % LANES];
            s->found_sums[row] += (int64_t)((double)rough_exp(s->list[i], s->slope[row], shift) *
                                            1099511627776.0);
        }
    }
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

/* Where an item stands among the best so far. */
typedef struct {
    float *logits;
    int32_t *items;
    int64_t filled;
    int64_t most;
} Best;

static void rank(Best *best, float logit, int32_t item)
{
    int64_t place = best->filled;
    while (place > 0 && (logit > best->logits[place - 1] ||
                         (logit == best->logits[place - 1] && item < best->items[place - 1]))) {
        place--;
        if (place + 1 == best->most) continue;
        best->logits[place + 1] = best->logits[place];
        best->items[place + 1] = best->items[place];
    }
    if (place == best->most) return;
    best->logits[place] = logit;
    best->items[place] = item;
    if (best->filled < best->most) best->filled++;
}

/*
 * Exact logits [rows][keep] of the found places, and the best `top` of each row, ties to the lower
 * code. `vectors` lie in the order of places; `codes` name their items, or NULL: by place.
 */
void scan_exact(const Scan *s, const float *vectors, const int32_t *codes, const float *queries,
                int64_t width, int64_t top, int32_t form, int32_t *top_items, float *top_logits,
                float *logits)
{
    for (int64_t row = 0; row < s->rows; row++) {
        const int32_t *found = s->found + row * s->keep;
        const float *query = queries + row * width;
        Best best = {top_logits + row * top, top_items + row * top, 0, top};
        for (int64_t i = 0; i < s->keep && i < AHEAD; i++)
            fetch(vectors + (int64_t)found[i] * width, width);
        for (int64_t i = 0; i < s->keep; i += DOTS) {
            const int64_t count = s->keep - i < DOTS ? s->keep - i : DOTS;
            const float *four[DOTS];
            float dots[DOTS];
            for (int64_t j = 0; j < DOTS; j++) {
                four[j] = vectors + (int64_t)found[i + (j < count ? j : 0)] * width;
                if (i + j + AHEAD < s->keep)
                    fetch(vectors + (int64_t)found[i + j + AHEAD] * width, width);
            }
            FORMS[form]->dots(four, query, width, dots);
            for (int64_t j = 0; j < count; j++) {
                const int32_t place = found[i + j];
                logits[row * s->keep + i + j] = dots[j];
                rank(&best, dots[j], codes ? codes[place] : place);
            }
        }
    }
}
